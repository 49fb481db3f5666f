import type { MetricLabels, MetricName, Metrics } from '../telemetry/index.ts';

/** Remembers what was counted and measured. Series are named as in a scrape: `name{key="value",…}`, keys in order. */
export class RecordedMetrics implements Metrics {
  readonly #values = new Map<string, number>();
  readonly #observations = new Map<string, number[]>();

  add(name: MetricName, labels: MetricLabels, value: number): void {
    const series = seriesOf(name, labels);
    this.#values.set(series, (this.#values.get(series) ?? 0) + value);
  }

  set(name: MetricName, labels: MetricLabels, value: number): void {
    this.#values.set(seriesOf(name, labels), value);
  }

  observe(name: MetricName, labels: MetricLabels, value: number): void {
    const series = seriesOf(name, labels);
    const known = this.#observations.get(series);
    if (known === undefined) this.#observations.set(series, [value]);
    else known.push(value);
  }

  /** Undefined while the series does not exist. */
  get(name: MetricName, labels: MetricLabels): number | undefined {
    return this.#values.get(seriesOf(name, labels));
  }

  observations(name: MetricName, labels: MetricLabels): readonly number[] {
    return this.#observations.get(seriesOf(name, labels)) ?? [];
  }

  /** Every counter and gauge, by series. */
  get values(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#values);
  }
}

function seriesOf(name: string, labels: MetricLabels): string {
  const pairs = Object.entries(labels).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return `${name}{${pairs.map(([key, value]) => `${key}="${value}"`).join(',')}}`;
}
