import { join, sep } from 'node:path';
import { type Config, normalizePath } from '../../config/index.ts';
import type { DatabaseHealth, Store, Watchdog } from '../../engine/index.ts';
import { errorMessage } from '../../lib/errors.ts';
import { redactUrl } from '../../lib/redact-url.ts';
import { packageVersion } from '../../lib/version.ts';
import type {
  DashboardRow,
  Heartbeat,
  MetricsServer,
  PrometheusMetrics,
} from '../../server/index.ts';
import { type Logger, type Metrics, noopMetrics } from '../../telemetry/index.ts';
import type { FileInfo } from '../../storage/index.ts';
import type { Io } from '../command.ts';
import { localTime } from '../log/time.ts';
import { processFacts } from './process-facts.ts';

const PING_TIMEOUT_MS = 30_000;

export interface ObservabilityInit {
  readonly config: Config;
  /** False for one pass: nothing is judged by how late it is. */
  readonly monitors: boolean;
  readonly io: Io;
  readonly logger: Logger;
}

/**
 * Everything that tells how replication is doing: metrics, the listener on `addr`, the watchdog, the heartbeat. What is not configured
 * is not loaded.
 */
export class Observability {
  /** For the store and its clients. */
  readonly metrics: Metrics;
  readonly #init: ObservabilityInit;
  readonly #prometheus: PrometheusMetrics | undefined;
  #watchdog: Watchdog | undefined;
  #server: MetricsServer | undefined;
  #heartbeat: Heartbeat | undefined;

  constructor(init: ObservabilityInit, prometheus: PrometheusMetrics | undefined) {
    this.#init = init;
    this.#prometheus = prometheus;
    this.metrics = prometheus ?? noopMetrics;
  }

  /** Starts to watch an open store, and to answer. Failures are log lines. */
  async watch(store: Store): Promise<void> {
    const { config, io, logger, monitors } = this.#init;
    const { Watchdog: WatchdogClass } = await import('../../engine/index.ts');
    const watchdog = new WatchdogClass({
      observe: () => store.observe(),
      clock: io.clock,
      logger: logger.with({ system: 'store' }),
      metrics: this.metrics,
      thresholdMs: monitors ? config.watchdogThresholdMs : 0,
      lagAlertMs: lagAlert(config),
    });
    this.#watchdog = watchdog;
    watchdog.start();
    const health = (): readonly DatabaseHealth[] => watchdog.check();
    if (config.heartbeatUrl !== '') await this.#startHeartbeat(store, health);
    if (this.#prometheus !== undefined) await this.#listen(this.#prometheus, store, health);
  }

  /** The end begins: nothing is late any more, and nobody is told that all is well. Metrics are still answered. */
  quiet(): void {
    this.#heartbeat?.stop();
    this.#watchdog?.stop();
  }

  /** Everything is over. */
  close(): void {
    this.quiet();
    this.#server?.close();
  }

  async #startHeartbeat(store: Store, health: () => readonly DatabaseHealth[]): Promise<void> {
    const { config, io, logger } = this.#init;
    const { Heartbeat: HeartbeatClass, ping } = await import('../../server/index.ts');
    const options = {
      clock: io.clock,
      timeoutMs: PING_TIMEOUT_MS,
      environment: io.environment,
      userAgent: `litestream/${packageVersion()}`,
    };
    this.#heartbeat = new HeartbeatClass({
      url: config.heartbeatUrl,
      shownUrl: redactUrl(config.heartbeatUrl),
      intervalMs: config.heartbeatIntervalMs,
      clock: io.clock,
      logger: logger.with({ system: 'store' }),
      observe: () => store.observe(),
      health,
      ping: (url) => ping(url, options),
    });
    this.#heartbeat.start();
  }

  async #listen(
    metrics: PrometheusMetrics,
    store: Store,
    health: () => readonly DatabaseHealth[],
  ): Promise<void> {
    const { config, logger } = this.#init;
    const { startMetricsServer } = await import('../../server/index.ts');
    try {
      const { server, url } = await startMetricsServer({
        address: config.addr,
        logger,
        metrics,
        health,
        dashboard: () => dashboardRows(store, health()),
        version: packageVersion(),
        clock: this.#init.io.clock,
        argv: process.argv.slice(1),
      });
      this.#server = server;
      logger.log('info', 'serving metrics on', { url });
    } catch (error) {
      logger.log('error', 'cannot start metrics server', { error: errorMessage(error) });
    }
  }
}

/** A database's own alert, that of the folder it was found in, or the file's. */
function lagAlert(config: Config): ((path: string) => number) | undefined {
  const own = config.databases.filter(({ lagAlertMs }) => lagAlertMs !== undefined);
  if (config.lagAlertMs <= 0 && own.length === 0) return undefined;
  return (found) => {
    const entry = own.find(({ dir, path }) =>
      dir === '' ? path === found : found.startsWith(join(normalizePath(dir), sep)),
    );
    return entry?.lagAlertMs ?? config.lagAlertMs;
  };
}

function levelsOf(files: readonly FileInfo[]): DashboardRow['replicas'][number]['levels'] {
  return files.map(({ createdAt, level, maxTxid }) => ({
    level,
    txid: maxTxid,
    createdAt: localTime(createdAt, 'as needed'),
  }));
}

function dashboardRows(store: Store, healths: readonly DatabaseHealth[]): readonly DashboardRow[] {
  const observed = new Map(store.observe().map((found) => [found.path, found]));
  return healths.map((health) => ({
    ...health,
    replicas: (observed.get(health.path)?.replicas ?? []).map(({ name, txid, type }, at) => ({
      name,
      type,
      txid,
      levels: levelsOf(store.newestFiles(health.path)[at] ?? []),
    })),
  }));
}

/** Prepares what has to be there before the store. */
export async function createObservability(init: ObservabilityInit): Promise<Observability> {
  const { config, io, logger } = init;
  if (config.addr === '') return new Observability(init, undefined);
  const { createPrometheusMetrics } = await import('../../server/index.ts');
  const process = processFacts(io.clock);
  return new Observability(init, await createPrometheusMetrics({ logger, process }));
}
