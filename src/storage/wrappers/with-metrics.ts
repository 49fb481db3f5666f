import type { Clock } from '../../lib/clock.ts';
import { present } from '../../lib/assert.ts';
import { LitestreamError } from '../../lib/errors.ts';
import { osErrorCode } from '../../lib/os-error.ts';
import type { Metrics } from '../../telemetry/index.ts';
import type { Download, ReplicaClient } from '../contract.ts';
import { forwarding } from './forwarding.ts';

export interface WithMetricsPorts {
  readonly metrics: Metrics;
  readonly clock: Clock;
}

type Operation = 'PUT' | 'GET' | 'DELETE' | 'LIST';

/** Answers that the caller asked for: a file that is not there, or is there already, and the caller's own abort. */
const EXPECTED: ReadonlySet<string> = new Set([
  'ERR_STORAGE_NOT_FOUND',
  'ERR_STORAGE_EXISTS',
  'ERR_ABORTED',
]);

/** The service's own word for what went wrong: its code, the HTTP status, the system's error name, else our code. */
function codeOf(error: unknown): string {
  const details = error instanceof LitestreamError ? error.details : {};
  for (const value of [details['code'], details['status']]) {
    if (typeof value === 'string' || typeof value === 'number') return String(value);
  }
  const own = error instanceof LitestreamError ? error.code : 'ERR_UNKNOWN';
  return osErrorCode(error) ?? own;
}

/** Counts the operations of one client. */
class OperationMeter {
  readonly #ports: WithMetricsPorts;
  readonly #type: string;

  constructor(type: string, ports: WithMetricsPorts) {
    this.#type = type;
    this.#ports = ports;
  }

  now(): number {
    return this.#ports.clock.monotonic();
  }

  done(operation: Operation, ms: number, { count = 1, bytes = 0 } = {}): void {
    const { metrics } = this.#ports;
    const labels = { operation, replica_type: this.#type };
    metrics.add('litestream_replica_operation_total', labels, count);
    if (operation === 'PUT' || operation === 'GET') {
      metrics.add('litestream_replica_operation_bytes', labels, bytes);
    }
    metrics.observe('litestream_replica_operation_duration_seconds', labels, ms / 1000);
  }

  failed(operation: Operation, error: unknown): void {
    if (error instanceof LitestreamError && EXPECTED.has(error.code)) return;
    const labels = { code: codeOf(error), operation, replica_type: this.#type };
    this.#ports.metrics.add('litestream_replica_operation_errors_total', labels, 1);
  }

  async call<T>(
    operation: Operation,
    body: () => Promise<T>,
    sizes: (result: T) => { count?: number; bytes?: number } = () => ({}),
  ): Promise<T> {
    const start = this.now();
    let result: T;
    try {
      result = await body();
    } catch (error) {
      this.failed(operation, error);
      throw error;
    }
    this.done(operation, this.now() - start, sizes(result));
    return result;
  }

  /** A stream counts when it ends or is left. The time that the consumer takes for itself is not counted. */
  async *stream<T>(
    operation: Operation,
    open: () => AsyncIterable<T>,
    bytesOf: (item: T) => number = () => 0,
  ): AsyncGenerator<T, void, undefined> {
    let bytes = 0;
    let ms = 0;
    let resumed = this.now();
    let failed = false;
    try {
      for await (const item of open()) {
        bytes += bytesOf(item);
        ms += this.now() - resumed;
        yield item;
        resumed = this.now();
      }
      ms += this.now() - resumed;
    } catch (error) {
      failed = true;
      this.failed(operation, error);
      throw error;
    } finally {
      if (!failed) this.done(operation, ms, { bytes });
    }
  }

  /** As {@link stream}. */
  async download(open: () => Promise<Download>): Promise<Download> {
    let bytes = 0;
    let ms = 0;
    let ended = false;
    const timed = async <T>(work: () => Promise<T>): Promise<T> => {
      const start = this.now();
      try {
        return await work();
      } catch (error) {
        if (!ended) this.failed('GET', error);
        ended = true;
        throw error;
      } finally {
        ms += this.now() - start;
      }
    };
    const download = await timed(open);
    return {
      fill: async (target) => {
        const count = await timed(() => download.fill(target));
        bytes += count;
        return count;
      },
      close: () => {
        download.close();
        if (!ended) this.done('GET', ms, { bytes });
        ended = true;
      },
    };
  }
}

/**
 * The client, with its operations counted: successful ones with their payload and duration, failed ones by cause. A resumed
 * download is one operation. Spec: interfaces 4.2.
 */
export function withMetrics(client: ReplicaClient, ports: WithMetricsPorts): ReplicaClient {
  const meter = new OperationMeter(client.type, ports);
  const size = (chunk: Uint8Array): number => chunk.length;
  return forwarding(client, {
    list: (level, options) => meter.stream('LIST', () => client.list(level, options)),
    read: (key, options) => meter.stream('GET', () => client.read(key, options), size),
    ...(client.open && {
      open: (key, options) =>
        meter.download(() => present(client.open?.(key, options), 'download')),
    }),
    write: (key, source, options) =>
      meter.call(
        'PUT',
        () => client.write(key, source, options),
        (info) => ({ bytes: info.size }),
      ),
    delete: (keys, options) =>
      meter.call(
        'DELETE',
        () => client.delete(keys, options),
        () => ({ count: keys.length }),
      ),
    deleteAll: (options) => meter.call('DELETE', () => client.deleteAll(options)),
    ...(client.listObjects && {
      listObjects: (folder, options) =>
        meter.stream('LIST', () => client.listObjects?.(folder, options) ?? nothing()),
    }),
    ...(client.readObject && {
      readObject: (object, options) =>
        meter.stream('GET', () => client.readObject?.(object, options) ?? nothing(), size),
    }),
  });
}

async function* nothing(): AsyncGenerator<never, void, undefined> {
  // No provider offers only half of this.
}
