import type { ControlServer, ControlServerInit } from './control/control-server.ts';
import type { MetricsServer, MetricsServerInit } from './listener/metrics-server.ts';
import type { PrometheusMetrics, PrometheusMetricsInit } from './metrics/prometheus.ts';
import type { ProfilesInit } from './profiles/handler.ts';

export type { ControlServer, ControlServerInit } from './control/control-server.ts';
export { Heartbeat, type HeartbeatInit } from './heartbeat/heartbeat.ts';
export { ping, type PingOptions } from './heartbeat/ping.ts';
export type { DashboardRow, LevelView } from './listener/dashboard.ts';
export type { MetricsServer, MetricsServerInit } from './listener/metrics-server.ts';
export type { ProcessFacts } from './metrics/process-metrics.ts';
export type { PrometheusMetrics, PrometheusMetricsInit } from './metrics/prometheus.ts';

/** The metrics of this process, to be scraped. Loads the library for it. */
export async function createPrometheusMetrics(
  init: PrometheusMetricsInit,
): Promise<PrometheusMetrics> {
  const { PrometheusMetrics: Metrics } = await import('./metrics/prometheus.ts');
  return new Metrics(init);
}

/**
 * Opens the metrics listener.
 *
 * @throws LitestreamError `ERR_IO`, `ERR_CONFIG`: `listen tcp …`
 */
export async function startMetricsServer(
  init: Omit<MetricsServerInit, 'profiles'> & ProfilesInit,
): Promise<{ readonly server: MetricsServer; readonly url: string }> {
  const { MetricsServer: Server } = await import('./listener/metrics-server.ts');
  const { Profiles } = await import('./profiles/handler.ts');
  const server = new Server({ ...init, profiles: new Profiles(init) });
  return { server, url: await server.start() };
}

/** The control socket, not yet open. */
export async function createControlServer(init: ControlServerInit): Promise<ControlServer> {
  const { ControlServer: Server } = await import('./control/control-server.ts');
  return new Server(init);
}
