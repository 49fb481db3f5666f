import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { errorMessage } from '../../lib/errors.ts';
import type { Logger, MetricLabels, MetricName, Metrics } from '../../telemetry/index.ts';
import { catalogue } from './catalogue.ts';
import { type ProcessFacts, ProcessMetrics } from './process-metrics.ts';

const CODES = [200, 500, 503] as const;

export interface PrometheusMetricsInit {
  readonly logger: Logger;
  readonly process: ProcessFacts;
}

/** All metrics in the text form that Prometheus scrapes. Has a registry of its own. Spec: interfaces 3 and 4. */
export class PrometheusMetrics implements Metrics {
  readonly #registry = new Registry();
  readonly #process: ProcessMetrics;
  readonly #logger: Logger;
  readonly #counters = new Map<string, Counter>();
  readonly #gauges = new Map<string, Gauge>();
  readonly #histograms = new Map<string, Histogram>();
  readonly #requests: Counter<'code'>;
  readonly #inFlight: Gauge;

  constructor({ logger, process }: PrometheusMetricsInit) {
    this.#logger = logger;
    const registers = [this.#registry];
    for (const [name, { buckets = [], help, labels, type }] of Object.entries(catalogue)) {
      const init = { name, help, labelNames: labels, registers };
      if (type === 'counter') this.#counters.set(name, new Counter(init));
      else if (type === 'gauge') this.#gauges.set(name, new Gauge(init));
      else this.#histograms.set(name, new Histogram({ ...init, buckets: [...buckets] }));
    }
    this.#requests = new Counter({
      name: 'promhttp_metric_handler_requests_total',
      help: 'Total number of scrapes by HTTP status code.',
      labelNames: ['code'],
      registers,
    });
    for (const code of CODES) this.#requests.inc({ code: String(code) }, 0);
    this.#inFlight = new Gauge({
      name: 'promhttp_metric_handler_requests_in_flight',
      help: 'Current number of scrapes being served.',
      registers,
    });
    this.#process = new ProcessMetrics(process, this.#registry);
  }

  add(name: MetricName, labels: MetricLabels, value: number): void {
    this.#guarded(name, () => this.#counters.get(name)?.inc({ ...labels }, value));
  }

  set(name: MetricName, labels: MetricLabels, value: number): void {
    this.#guarded(name, () => this.#gauges.get(name)?.set({ ...labels }, value));
  }

  observe(name: MetricName, labels: MetricLabels, value: number): void {
    this.#guarded(name, () => this.#histograms.get(name)?.observe({ ...labels }, value));
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  /** The text of one scrape: families by name, series by label values; a family without series is left out. */
  async scrape(): Promise<string> {
    this.#inFlight.inc();
    try {
      await this.#process.refresh();
      const names = this.#registry.getMetricsAsArray().map(({ name }) => name);
      const families: string[] = [];
      for (const name of names.toSorted()) {
        const lines = (await this.#registry.getSingleMetricAsString(name)).split('\n');
        const [help = '', type = '', ...series] = lines;
        if (series.length === 0) continue;
        // A histogram's lines belong together and are in order.
        families.push(help, type, ...(this.#histograms.has(name) ? series : series.toSorted()));
      }
      return `${families.join('\n')}\n`;
    } finally {
      this.#inFlight.dec();
    }
  }

  /** Notes that a scrape was answered. */
  answered(code: (typeof CODES)[number]): void {
    this.#requests.inc({ code: String(code) });
  }

  /** A measurement must never end a replication. */
  #guarded(name: MetricName, body: () => void): void {
    try {
      body();
    } catch (error) {
      this.#logger.log('debug', 'cannot record metric', { name, error: errorMessage(error) });
    }
  }
}
