import { formatTxid } from '../formats/ltx/index.ts';
import { abortError } from '../lib/clock.ts';
import { LitestreamError } from '../lib/errors.ts';
import type {
  CallOptions,
  WriteOptions,
  FileInfo,
  FileKey,
  ListOptions,
  ObjectInfo,
  ReadKey,
  ReadOptions,
  ReplicaClient,
  WriteSource,
} from '../storage/index.ts';
import { randomNumbers } from './random.ts';

export type ClientOperation =
  'init' | 'list' | 'read' | 'write' | 'delete' | 'deleteAll' | 'listObjects' | 'readObject';

/**
 * What is said of `list` and `read` holds for `listObjects` and `readObject`.
 *
 * - `before`: fails, nothing has happened.
 * - `after`: the operation is carried out in full, its answer is lost. For `list` and `read`: an error at the very end.
 * - `partial`: `read` fails after `amount` bytes, `list` after `amount` files; a `write` after it has taken `amount` bytes of
 *   the source, and stores nothing; `delete` after `amount` files.
 * - `truncate`: `read` ends after `amount` bytes without an error.
 * - `hang`: never answers; ends with `ERR_ABORTED` when the signal fires. With an `amount`, `read` and `list` hang after so
 *   much.
 */
export type ClientFaultKind = 'before' | 'after' | 'partial' | 'truncate' | 'hang';

export interface ClientFault {
  readonly operation: ClientOperation;
  readonly kind: ClientFaultKind;
  /** The n-th matching call from now on. Default 1. */
  readonly nth?: number | undefined;
  /** How many matching calls in a row from then on. Default 1. */
  readonly times?: number | undefined;
  /** Bytes or files, see {@link ClientFaultKind}. Default 0. */
  readonly amount?: number | undefined;
  /** Default `ERR_STORAGE_TEMPORARY`, `injected fault: <operation> <kind>`. */
  readonly error?: LitestreamError | undefined;
}

export interface FaultyClientOptions {
  /** Share of calls that fail by chance, 0 … 1. Default 0. */
  readonly rate?: number | undefined;
  /** Makes chance repeatable. Default 1. */
  readonly seed?: number | undefined;
  /** What may happen by chance. Default `before`, `after` and `partial`. */
  readonly kinds?: readonly ClientFaultKind[] | undefined;
}

const STREAMS: ReadonlySet<ClientOperation> = new Set([
  'list',
  'read',
  'listObjects',
  'readObject',
]);

interface Armed {
  readonly fault: ClientFault;
  /** Matching calls to let pass. */
  skip: number;
  left: number;
}

function temporary(operation: string, kind: string): LitestreamError {
  const message = `injected fault: ${operation} ${kind}`;
  return new LitestreamError('ERR_STORAGE_TEMPORARY', message, { retryable: true });
}

function hang(signal: AbortSignal | undefined): Promise<never> {
  return new Promise((_, reject) => {
    const onAbort = (): void => reject(abortError(signal));
    if (signal?.aborted === true) onAbort();
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}

function idOf({ level, minTxid, maxTxid }: FileKey): string {
  return `${level}/${formatTxid(minTxid)}-${formatTxid(maxTxid)}`;
}

/** A replica client that fails as told, or by chance with a seed. Counts requests. */
export class FaultyClient implements ReplicaClient {
  readonly type: string;
  readonly location: string;
  /** While set, every call fails with it at once. */
  downError: LitestreamError | undefined;
  /** Listings that do not yet show a file written from now on. */
  hideNewFilesForLists = 0;
  readonly #inner: ReplicaClient;
  readonly #random: () => number;
  readonly #rate: number;
  readonly #kinds: readonly ClientFaultKind[];
  #armed: Armed[] = [];
  readonly #counts = new Map<ClientOperation, number>();
  readonly #hidden = new Map<string, number>();

  constructor(
    inner: ReplicaClient,
    { rate = 0, seed = 1, kinds = ['before', 'after', 'partial'] }: FaultyClientOptions = {},
  ) {
    this.#inner = inner;
    this.type = inner.type;
    this.location = inner.location;
    this.#random = randomNumbers(seed);
    this.#rate = rate;
    this.#kinds = kinds;
  }

  /** Arms a fault. */
  inject(fault: ClientFault): void {
    this.#armed.push({ fault, skip: (fault.nth ?? 1) - 1, left: fault.times ?? 1 });
  }

  /** Switches the remote off, or on again. */
  setDown(down: boolean): void {
    const message = 'injected fault: connection refused';
    this.downError = down
      ? new LitestreamError('ERR_STORAGE_TEMPORARY', message, { retryable: true })
      : undefined;
  }

  /** Disarms everything, chance excepted, and makes every file visible. */
  reset(): void {
    this.#armed = [];
    this.#hidden.clear();
    this.hideNewFilesForLists = 0;
    this.downError = undefined;
  }

  /** Calls of one operation so far, failed ones included; of all without an argument. */
  count(operation?: ClientOperation): number {
    if (operation !== undefined) return this.#counts.get(operation) ?? 0;
    return [...this.#counts.values()].reduce((sum, count) => sum + count, 0);
  }

  init(options: CallOptions = {}): Promise<void> {
    return this.#call('init', options.signal, () => this.#inner.init(options));
  }

  async *list(level: number, options: ListOptions = {}): AsyncGenerator<FileInfo, void, undefined> {
    const fault = this.#next('list');
    await this.#strikeBefore(fault, options.signal);
    let left = fault?.amount ?? 0;
    for await (const file of this.#inner.list(level, options)) {
      if (this.#isHidden(file)) continue;
      if (fault !== undefined && fault.kind !== 'after' && left-- === 0) {
        await this.#strike(fault, options.signal);
        return;
      }
      yield file;
    }
    if (fault !== undefined) await this.#strike(fault, options.signal);
  }

  async *read(
    key: ReadKey,
    options: ReadOptions = {},
  ): AsyncGenerator<Uint8Array, void, undefined> {
    yield* this.#bytes('read', this.#inner.read(key, options), options.signal);
  }

  /** Empty if the client within knows no objects. */
  async *listObjects(
    folder: string,
    options: CallOptions = {},
  ): AsyncGenerator<ObjectInfo, void, undefined> {
    const fault = this.#next('listObjects');
    await this.#strikeBefore(fault, options.signal);
    let left = fault === undefined || fault.kind === 'after' ? Infinity : (fault.amount ?? 0);
    for await (const object of this.#inner.listObjects?.(folder, options) ?? []) {
      if (left-- === 0) break;
      yield object;
    }
    if (fault !== undefined) await this.#strike(fault, options.signal);
  }

  async *readObject(
    object: ObjectInfo,
    options: ReadOptions = {},
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const stream = this.#inner.readObject?.(object, options);
    if (stream !== undefined) yield* this.#bytes('readObject', stream, options.signal);
  }

  async *#bytes(
    operation: ClientOperation,
    stream: AsyncIterable<Uint8Array>,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const fault = this.#next(operation);
    await this.#strikeBefore(fault, signal);
    let left = fault === undefined || fault.kind === 'after' ? Infinity : (fault.amount ?? 0);
    for await (const chunk of stream) {
      const part = chunk.subarray(0, left);
      left -= part.length;
      if (part.length > 0) yield part;
      if (left === 0) break;
    }
    if (fault !== undefined) await this.#strike(fault, signal);
  }

  write(key: FileKey, source: WriteSource, options: WriteOptions = {}): Promise<FileInfo> {
    if (this.hideNewFilesForLists > 0) this.#hidden.set(idOf(key), this.hideNewFilesForLists);
    return this.#call(
      'write',
      options.signal,
      () => this.#inner.write(key, source, options),
      async (amount) => {
        let taken = 0;
        for await (const chunk of source.stream(options.signal)) {
          taken += chunk.length;
          if (taken >= amount) break;
        }
      },
    );
  }

  delete(keys: readonly FileKey[], options: CallOptions = {}): Promise<void> {
    return this.#call(
      'delete',
      options.signal,
      () => this.#inner.delete(keys, options),
      (amount) => this.#inner.delete(keys.slice(0, amount), options),
    );
  }

  deleteAll(options: CallOptions = {}): Promise<void> {
    return this.#call('deleteAll', options.signal, () => this.#inner.deleteAll(options));
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  async #call<T>(
    operation: ClientOperation,
    signal: AbortSignal | undefined,
    whole: () => Promise<T>,
    part?: (amount: number) => Promise<void>,
  ): Promise<T> {
    const fault = this.#next(operation);
    await this.#strikeBefore(fault, signal);
    if (fault === undefined) return whole();
    if (fault.kind === 'after') await whole();
    else await part?.(fault.amount ?? 0);
    throw fault.error ?? temporary(operation, fault.kind);
  }

  /** Faults that strike before the remote is asked. */
  async #strikeBefore(
    fault: ClientFault | undefined,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    await Promise.resolve();
    if (this.downError !== undefined) throw this.downError;
    const streams = fault !== undefined && STREAMS.has(fault.operation);
    if (fault?.kind === 'hang' && !(streams && (fault.amount ?? 0) > 0)) await hang(signal);
    if (fault?.kind === 'before') throw fault.error ?? temporary(fault.operation, fault.kind);
  }

  async #strike(fault: ClientFault, signal: AbortSignal | undefined): Promise<void> {
    if (fault.kind === 'truncate') return;
    if (fault.kind === 'hang') await hang(signal);
    throw fault.error ?? temporary(fault.operation, fault.kind);
  }

  #isHidden(file: FileKey): boolean {
    const id = idOf(file);
    const left = this.#hidden.get(id);
    if (left === undefined) return false;
    if (left === 1) this.#hidden.delete(id);
    else this.#hidden.set(id, left - 1);
    return true;
  }

  #next(operation: ClientOperation): ClientFault | undefined {
    this.#counts.set(operation, this.count(operation) + 1);
    let due: ClientFault | undefined;
    for (const armed of this.#armed) {
      if (armed.fault.operation !== operation) continue;
      if (armed.skip > 0) {
        armed.skip--;
      } else if (armed.left > 0 && due === undefined) {
        armed.left--;
        due = armed.fault;
      }
    }
    this.#armed = this.#armed.filter(({ left }) => left > 0);
    if (due !== undefined || this.#random() >= this.#rate) return due;
    const kind = this.#kinds[Math.floor(this.#random() * this.#kinds.length)] ?? 'before';
    return { operation, kind, amount: Math.floor(this.#random() * 4096) };
  }
}
