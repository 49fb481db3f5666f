import {
  createKernel,
  frameReaderBytes,
  LtxFileWriter,
  writerArenaBytes,
  writerBytes,
  type FrameRuns,
  type Kernel,
} from '../codec/index.ts';
import { formatTxid, LTX_NO_CHECKSUM, type LtxHeader } from '../formats/ltx/index.ts';
import { present } from '../lib/assert.ts';
import { type Clock, throwIfAborted, yieldToLoop } from '../lib/clock.ts';
import { lockPgno } from '../lib/page.ts';
import { damage } from './damage.ts';
import { AT_END, MergeInput, type ByteSource } from './input.ts';

/** Inputs that are open at the same time. */
export const FAN_IN = 256;
/** The event loop gets a turn after this long. */
const TURN_MS = 8;
/** What is held of all inputs together, unless the largest frames need more. */
const HELD_BYTES = 16 * 1024 * 1024;
/** Of one input. */
const HELD_MAX = 256 * 1024;
const CHUNK_BYTES = 256 * 1024;
const KERNEL_BYTES = writerArenaBytes(CHUNK_BYTES) - writerBytes(CHUNK_BYTES);
/** Each CRC stream has tables of its own. */
const STREAM_BYTES = 2304;
/** A larger memory is not kept for the next merge. */
const KEPT_BYTES = 6 * 1024 * 1024;
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
    const { kernel, places } = placeReaders(used);
    await each(used.keys(), (at) =>
      present(used[at], 'input').start({ kernel, ...present(places[at], 'place') }),
    );
    const size = await new Merge({ ...options, inputs: used, kernel, header }).run();
    // After a failure somebody may still be writing what is in it.
    if (kernel.bytes.length <= KEPT_BYTES) idleKernel = kernel;
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

function blamed<T>(input: number, body: () => T): T {
  try {
    return body();
  } catch (error) {
    throw new InputFailure(input, error);
  }
}

/** Does something with several inputs at the same time, to the end of all. @throws InputFailure of the first that fails */
async function each(
  inputs: Iterable<number>,
  body: (input: number) => Promise<void>,
): Promise<void> {
  const work = Array.from(inputs, (input) => blame(input, () => body(input)));
  for (const done of await Promise.allSettled(work)) {
    if (done.status === 'rejected') throw done.reason;
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
  readonly frames: FrameRuns;
}

/** The last one that was used: merges follow each other, most of them small. */
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
function placeReaders(inputs: readonly MergeInput[]): { kernel: Kernel; places: ReaderPlace[] } {
  const share = Math.min(HELD_MAX, Math.floor(HELD_BYTES / inputs.length));
  const runs = inputs.map((input) => input.runs(share));
  const readers = runs.reduce((sum, frames) => sum + frameReaderBytes(frames), 0);
  const kernel = takeKernel(writerBytes(CHUNK_BYTES) + readers, inputs.length + 1);
  let base = kernel.base + writerBytes(CHUNK_BYTES);
  const places = runs.map((frames, input) => {
    const place = { base, stream: input + 1, frames };
    base += frameReaderBytes(frames);
    return place;
  });
  return { kernel, places };
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
  /** Inputs whose next page is not in memory. */
  #starved: number[] = [];

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
    const { clock, signal } = this.#init;
    let turn = clock.monotonic();
    while (this.#pages(turn + TURN_MS)) {
      if (this.#writer.needsFlush) await this.#writer.flush();
      await this.#refill();
      // Inputs and output may be in memory: then awaiting them gives nobody a turn.
      if (clock.monotonic() - turn < TURN_MS) continue;
      await yieldToLoop();
      throwIfAborted(signal);
      turn = clock.monotonic();
    }
    this.#growth.finish();
    const { size } = await this.#writer.finish();
    return size;
  }

  /** Merges pages until something has to be awaited; false at the end. */
  #pages(until: number): boolean {
    const { clock, header } = this.#init;
    const pgnos = this.#pgnos;
    for (let pages = 1; ; pages++) {
      let lowest = AT_END;
      let newest = -1;
      for (let at = 0; at < pgnos.length; at++) {
        const pgno = pgnos[at] ?? AT_END;
        if (pgno > lowest) continue;
        lowest = pgno;
        newest = at;
      }
      if (lowest === AT_END) return false;
      if (lowest <= header.commit) this.#copy(lowest, newest);
      this.#advance(lowest, newest);
      if (this.#starved.length > 0 || this.#writer.needsFlush) return true;
      if ((pages & 15) === 0 && clock.monotonic() >= until) return true;
    }
  }

  #copy(pgno: number, from: number): void {
    const input = present(this.#inputs[from], 'input with the page');
    const { frame } = input;
    if (frame >= 0) {
      this.#writer.copyFrame(pgno, frame, input.frameSize, input.sum);
      return;
    }
    const { page } = input;
    const { bytes } = this.#init.kernel;
    this.#writer.slot().set(bytes.subarray(page, page + this.#init.header.pageSize));
    this.#writer.add(pgno);
  }

  /** Moves every input that stands at the page; none behind `newest` does. */
  #advance(pgno: number, newest: number): void {
    for (let at = 0; at <= newest; at++) {
      if (this.#pgnos[at] !== pgno) continue;
      const input = present(this.#inputs[at], 'input with the page');
      this.#growth.note(at, pgno);
      if (!blamed(at, () => input.step())) this.#starved.push(at);
      this.#pgnos[at] = input.pgno;
    }
  }

  /** Has the starved inputs read on, and everything that others read ahead meanwhile comes with it. */
  async #refill(): Promise<void> {
    const starved = this.#starved;
    if (starved.length === 0) return;
    this.#starved = [];
    await each(starved, async (at) => {
      const input = present(this.#inputs[at], 'starved input');
      await input.refill();
      this.#pgnos[at] = input.pgno;
    });
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
