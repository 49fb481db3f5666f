import type { Txid } from '../../formats/ltx/index.ts';
import type { Clock } from '../../lib/clock.ts';
import { isLitestreamError } from '../../lib/errors.ts';
import { isDiskFull } from '../../lib/os-error.ts';
import { identify } from '../../sqlite/index.ts';
import { type Metrics, noopMetrics } from '../../telemetry/index.ts';
import { ContinuityLost } from './continuity-lost.ts';

/** Where a database stands after a pass. */
export interface PassFacts {
  readonly txid: Txid;
  /** End of the WAL content that is in local files, in bytes; undefined while some waits for its file. */
  readonly walSize: number | undefined;
  /** Bytes of the database file at the beginning of the pass; undefined if it was not looked at. */
  readonly databaseSize: number | undefined;
}

/** Counts the passes of one database. Every series exists from the start. Spec: interfaces 4.1. */
export class PassMetrics {
  readonly #metrics: Metrics;
  readonly #clock: Clock;
  readonly #path: string;
  readonly #labels: { readonly db: string };

  constructor(path: string, metrics: Metrics, clock: Clock) {
    this.#path = path;
    this.#metrics = metrics;
    this.#clock = clock;
    this.#labels = { db: path };
    const labels = this.#labels;
    metrics.add('litestream_sync_count', labels, 0);
    metrics.add('litestream_sync_error_count', labels, 0);
    metrics.add('litestream_sync_seconds', labels, 0);
    metrics.add('litestream_total_wal_bytes', labels, 0);
    metrics.add('litestream_compaction_verify_error_count', labels, 0);
    metrics.add('litestream_upkeep_error_count', labels, 0);
    metrics.set('litestream_db_size', labels, 0);
    metrics.set('litestream_wal_size', labels, 0);
    metrics.set('litestream_txid', labels, 0);
    metrics.set('litestream_disk_full', labels, 0);
    metrics.set('litestream_unhealthy', labels, 0);
  }

  /** Runs one pass; `facts` is asked after a successful one. */
  async run(pass: () => Promise<void>, facts: () => PassFacts): Promise<void> {
    const metrics = this.#metrics;
    const startedAt = this.#clock.monotonic();
    let failure: unknown;
    try {
      await pass();
      if (metrics !== noopMetrics) this.#succeeded(facts());
    } catch (error) {
      failure = error;
      throw error;
    } finally {
      const seconds = (this.#clock.monotonic() - startedAt) / 1000;
      metrics.add('litestream_sync_count', this.#labels, 1);
      metrics.add('litestream_sync_seconds', this.#labels, seconds);
      const failed = failure !== undefined && !isLitestreamError(failure, 'ERR_ABORTED');
      if (failed) metrics.add('litestream_sync_error_count', this.#labels, 1);
      metrics.set('litestream_disk_full', this.#labels, isDiskFull(failure) ? 1 : 0);
    }
  }

  /** Counts a pass that had nothing to do. */
  idle(): void {
    if (this.#metrics !== noopMetrics) this.#metrics.add('litestream_sync_count', this.#labels, 1);
  }

  #succeeded({ txid, walSize, databaseSize }: PassFacts): void {
    const metrics = this.#metrics;
    metrics.set('litestream_txid', this.#labels, Number(txid));
    if (walSize !== undefined) metrics.set('litestream_wal_size', this.#labels, walSize);
    metrics.set('litestream_db_size', this.#labels, databaseSize ?? sizeOf(this.#path));
  }
}

function sizeOf(path: string): number {
  try {
    return identify(path)?.size ?? 0;
  } catch {
    // Whoever reads the database says what is wrong with it.
    return 0;
  }
}

/** Counts the checkpoints of one database, once there are any. Spec: interfaces 4.1. */
export class CheckpointMetrics {
  readonly #metrics: Metrics;
  readonly #clock: Clock;
  readonly #path: string;

  constructor(path: string, metrics: Metrics, clock: Clock) {
    this.#path = path;
    this.#metrics = metrics;
    this.#clock = clock;
  }

  /** Runs one checkpoint. */
  async run<T>(mode: 'PASSIVE' | 'TRUNCATE', checkpoint: () => T | Promise<T>): Promise<T> {
    const labels = { db: this.#path, mode };
    const metrics = this.#metrics;
    const startedAt = this.#clock.monotonic();
    metrics.add('litestream_checkpoint_error_count', labels, 0);
    try {
      return await checkpoint();
    } catch (error) {
      // What is lost is the certainty about the WAL; the checkpoint itself has worked.
      if (!(error instanceof ContinuityLost)) {
        metrics.add('litestream_checkpoint_error_count', labels, 1);
      }
      throw error;
    } finally {
      metrics.add('litestream_checkpoint_count', labels, 1);
      const seconds = (this.#clock.monotonic() - startedAt) / 1000;
      metrics.add('litestream_checkpoint_seconds', labels, seconds);
    }
  }
}
