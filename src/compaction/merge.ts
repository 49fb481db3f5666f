import {
  createKernel,
  LtxFileWriter,
  lz4Bound,
  readerBytes,
  writerArenaBytes,
  writerBytes,
  type Kernel,
} from '../codec/index.ts';
import { formatTxid, LTX_NO_CHECKSUM, type LtxHeader } from '../formats/ltx/index.ts';
import { present } from '../lib/assert.ts';
import { type Clock, throwIfAborted, yieldToLoop } from '../lib/clock.ts';
import { lockPgno } from '../lib/page.ts';
import { damage } from './damage.ts';
import { AT_END, MergeInput, type ByteSource } from './input.ts';

/** Inputs that are open at the same time. */
export const FAN_IN = 64;
/** The event loop gets a turn after this long. */
const TURN_MS = 8;
/** What the windows of all readers together take, if the largest frame allows. */
const WINDOWS_BYTES = 2 * 1024 * 1024;
const WINDOW_MAX = 128 * 1024;
const FRAME_HEADER = 10;
const CHUNK_BYTES = 256 * 1024;
const KERNEL_BYTES = writerArenaBytes(CHUNK_BYTES) - writerBytes(CHUNK_BYTES);
/** Each CRC stream has tables of its own. */
const STREAM_BYTES = 2304;
const OPENED_AT_ONCE = 16;

/** Thrown inside the merge: which input failed, and how. */
export class InputFailure extends Error {
  override readonly name = 'InputFailure';
  readonly input: number;
  constructor(input: number, cause: unknown) {
    super('merge input failed', { cause });
    this.input = input;
  }
}

/** What {@link mergeFiles} needs. */
export interface MergeOptions {
  /** Opens an input; called once per input, up to {@link FAN_IN} of them are open at the same time. */
  readonly open: (input: number) => Promise<ByteSource>;
  /** Looks at an input's header. */
  readonly check: (input: number, header: LtxHeader) => void;
  /** At most {@link FAN_IN}. */
  readonly inputs: number;
  /** Takes the output's bytes in order. */
  readonly sink: (bytes: Uint8Array) => Promise<void>;
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
}

/** What a merge made. */
export interface Merged {
  readonly header: LtxHeader;
  /** Bytes. */
  readonly size: number;
  /** Inputs that are in it: fewer than asked for if the page size changes behind them. */
  readonly inputs: number;
}

/**
 * Merges LTX files, oldest first, into one: the newest version of each page, nothing above the last commit. Frames in block form
 * are copied as they are; pages of LZ4 frames are encoded again. Every input is read to its end and verified before the promise
 * resolves; what the sink has got until then is provisional.
 *
 * Header: flags NoChecksum, least TXID of the first input, greatest TXID, commit and timestamp of the last, no WAL fields.
 *
 * Spec: formats 2.20, replication 17.4.
 *
 * @throws InputFailure around what is wrong with one input; whatever the sink throws
 */
export async function mergeFiles(options: MergeOptions): Promise<Merged> {
  const inputs = await openInputs(options);
  try {
    const used = inputs.slice(0, samePageSize(inputs));
    checkContiguous(used);
    const header = outputHeader(used);
    const { kernel, readers } = placeReaders(used, header.pageSize);
    for (const [at, input] of used.entries()) {
      await blame(at, () => input.start({ kernel, ...readers(at) }));
    }
    const size = await new Merge({ ...options, inputs: used, kernel, header }).run();
    // After a failure somebody may still be writing what is in it.
    idleKernel = kernel;
    return { header, size, inputs: used.length };
  } finally {
    for (const input of inputs) await input.close();
  }
}

async function blame<T>(input: number, body: () => Promise<T>): Promise<T> {
  try {
    return await body();
  } catch (error) {
    throw new InputFailure(input, error);
  }
}

/** Opens all inputs, several at a time: the first answer of a remote takes its time. */
async function openInputs(options: MergeOptions): Promise<MergeInput[]> {
  const opened: MergeInput[] = [];
  const failures: unknown[] = [];
  const queue = Array.from({ length: options.inputs }, (_, at) => at).values();
  const work = async (): Promise<void> => {
    for (const at of queue) {
      if (failures.length > 0) return;
      try {
        throwIfAborted(options.signal);
        const input = await blame(at, async () => MergeInput.open(await options.open(at)));
        opened[at] = input;
        await blame(at, () => Promise.resolve(options.check(at, input.header)));
      } catch (error) {
        failures.push(error);
      }
    }
  };
  await Promise.all(Array.from({ length: OPENED_AT_ONCE }, work));
  if (failures.length === 0) return opened;
  // The array has holes where nothing was opened.
  for (const input of opened.filter((found) => found instanceof MergeInput)) await input.close();
  throw failures[0];
}

/** Inputs up to the first one with another page size: a full file, at which compaction starts over. Spec: W-26. */
function samePageSize(inputs: readonly MergeInput[]): number {
  const pageSize = inputs[0]?.header.pageSize;
  const other = inputs.findIndex(({ header }) => header.pageSize !== pageSize);
  return other < 0 ? inputs.length : other;
}

function range({ minTxid, maxTxid }: LtxHeader): string {
  return `(${formatTxid(minTxid)},${formatTxid(maxTxid)})`;
}

/** The headers are believed, not the names. */
function checkContiguous(inputs: readonly MergeInput[]): void {
  let last: LtxHeader | undefined;
  for (const [at, { header }] of inputs.entries()) {
    if (last !== undefined) {
      const follows = header.minTxid <= last.maxTxid + 1n && header.maxTxid > last.maxTxid;
      if (!follows) {
        const text = `non-contiguous transaction ids in input files: ${range(last)} -> ${range(header)}`;
        throw new InputFailure(
          at,
          damage(text, {
            field: 'minTxid',
            offset: 16,
            expected: `a file that continues ${formatTxid(last.maxTxid)}`,
            found: range(header),
          }),
        );
      }
    }
    last = header;
  }
}

function outputHeader(inputs: readonly MergeInput[]): LtxHeader {
  const first = present(inputs[0], 'first input').header;
  const last = present(inputs.at(-1), 'last input').header;
  return {
    flags: LTX_NO_CHECKSUM,
    pageSize: first.pageSize,
    commit: last.commit,
    minTxid: first.minTxid,
    maxTxid: last.maxTxid,
    timestampMs: last.timestampMs,
    preApplyChecksum: 0n,
    walOffset: 0,
    walSize: 0,
    walSalt1: 0,
    walSalt2: 0,
    nodeId: 0n,
  };
}

interface ReaderPlace {
  readonly base: number;
  readonly stream: number;
  readonly windowBytes: number;
  readonly pageBytes: number;
}

/** The last one that was used, a few megabytes: merges follow each other, most of them small. */
let idleKernel: Kernel | undefined;

/** @param usedBytes - what the writer and the readers need */
function takeKernel(usedBytes: number, streams: number): Kernel {
  const idle = idleKernel;
  idleKernel = undefined;
  // Readers and writers reset the streams that they use.
  if (idle !== undefined && idle.streams >= streams && idle.limit - idle.base >= usedBytes) {
    return idle;
  }
  return createKernel({ arenaBytes: KERNEL_BYTES + usedBytes + streams * STREAM_BYTES, streams });
}

/** One memory for the writer and all readers, so that frames can be copied from window to output. */
function placeReaders(
  inputs: readonly MergeInput[],
  pageSize: number,
): { kernel: Kernel; readers: (input: number) => ReaderPlace } {
  const share = Math.min(WINDOW_MAX, Math.floor(WINDOWS_BYTES / inputs.length));
  const windowBytes = Math.max(FRAME_HEADER + lz4Bound(pageSize), share) & ~63;
  const pageBytes = Math.max(pageSize, share - (share % pageSize));
  const window = windowBytes + 64;
  const each = readerBytes(window, pageBytes);
  const usedBytes = writerBytes(CHUNK_BYTES) + inputs.length * each;
  const kernel = takeKernel(usedBytes, inputs.length + 1);
  const first = kernel.base + writerBytes(CHUNK_BYTES);
  return {
    kernel,
    readers: (input) => ({
      base: first + input * each,
      stream: input + 1,
      windowBytes: window,
      pageBytes,
    }),
  };
}

interface MergeInit extends Omit<MergeOptions, 'check' | 'inputs' | 'open'> {
  readonly inputs: readonly MergeInput[];
  readonly kernel: Kernel;
  readonly header: LtxHeader;
}

/** The loop: the lowest page of all inputs, from the newest that holds it. */
class Merge {
  readonly #init: MergeInit;
  readonly #inputs: readonly MergeInput[];
  readonly #writer: LtxFileWriter;
  readonly #growth: GrowthCheck;
  /** Current page of each input. */
  readonly #pgnos: Uint32Array;
  #pages = 0;

  constructor(init: MergeInit) {
    this.#init = init;
    this.#inputs = init.inputs;
    this.#pgnos = Uint32Array.from(init.inputs, ({ pgno }) => pgno);
    this.#growth = new GrowthCheck(init.inputs);
    this.#writer = new LtxFileWriter({
      header: init.header,
      sink: (bytes) => init.sink(bytes),
      kernel: init.kernel,
      base: init.kernel.base,
      stream: 0,
      chunkBytes: CHUNK_BYTES,
    });
  }

  /** @returns bytes of the output */
  async run(): Promise<number> {
    const { clock, header, signal } = this.#init;
    let turn = clock.monotonic();
    for (;;) {
      const pgno = this.#lowest();
      if (pgno === AT_END) break;
      if (pgno <= header.commit) this.#copy(pgno);
      await this.#advance(pgno);
      // Inputs and output may be in memory: then awaiting them gives nobody a turn.
      if (this.#writer.needsFlush) await this.#writer.flush();
      if ((++this.#pages & 15) !== 0 || clock.monotonic() - turn < TURN_MS) continue;
      await yieldToLoop();
      throwIfAborted(signal);
      turn = clock.monotonic();
    }
    this.#growth.finish();
    const { size } = await this.#writer.finish();
    return size;
  }

  #lowest(): number {
    let lowest = AT_END;
    for (const pgno of this.#pgnos) if (pgno < lowest) lowest = pgno;
    return lowest;
  }

  #copy(pgno: number): void {
    const input = present(this.#inputs[this.#pgnos.lastIndexOf(pgno)], 'input with the page');
    const { frame, page } = input;
    if (frame >= 0) {
      this.#writer.copyFrame(pgno, frame, input.frameSize, page);
      return;
    }
    const { bytes } = this.#init.kernel;
    this.#writer.slot().set(bytes.subarray(page, page + this.#init.header.pageSize));
    this.#writer.add(pgno);
  }

  /** Moves every input that stands at the page. */
  async #advance(pgno: number): Promise<void> {
    let at = this.#pgnos.indexOf(pgno);
    while (at >= 0) {
      const input = present(this.#inputs[at], 'input with the page');
      this.#growth.note(at, pgno);
      if (!input.step()) await blame(at, () => input.refill());
      this.#pgnos[at] = input.pgno;
      at = this.#pgnos.indexOf(pgno, at + 1);
    }
  }
}

/**
 * A file that makes the database larger holds every page that is new: without one of them the merge would bring back what that
 * page was before an earlier shrink. Spec: formats 2.20.
 */
class GrowthCheck {
  /** Database size before each input; the input's own if it is not known. */
  readonly #before: Float64Array;
  /** Pages above it that each input should hold, minus those that it held. */
  readonly #missing: Float64Array;

  constructor(inputs: readonly MergeInput[]) {
    this.#before = new Float64Array(inputs.length);
    this.#missing = new Float64Array(inputs.length);
    for (const [at, { header }] of inputs.entries()) {
      const { commit, minTxid, pageSize } = header;
      const unknown = minTxid === 1n ? 0 : commit;
      const before = at === 0 ? unknown : present(inputs[at - 1], 'input before').header.commit;
      const lock = lockPgno(pageSize);
      this.#before[at] = before;
      this.#missing[at] = Math.max(0, commit - before) - (before < lock && lock <= commit ? 1 : 0);
    }
  }

  note(input: number, pgno: number): void {
    if (pgno > (this.#before[input] ?? 0)) this.#missing[input] = (this.#missing[input] ?? 0) - 1;
  }

  /** @throws InputFailure */
  finish(): void {
    const at = this.#missing.findIndex((missing) => missing > 0);
    if (at < 0) return;
    const before = this.#before[at] ?? 0;
    const text = `growth is incomplete: ${this.#missing[at]} pages above ${before} are missing`;
    const details = {
      field: 'page number',
      offset: 100,
      expected: `every page above ${before}`,
      found: `${this.#missing[at]} missing`,
    };
    throw new InputFailure(at, damage(text, details));
  }
}
