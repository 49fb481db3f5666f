import { assert } from '../../lib/assert.ts';
import { yieldToLoop } from '../../lib/clock.ts';
import {
  createFrameScan,
  parseWalFrame,
  parseWalHeader,
  scanFrames,
  WAL_FRAME_HEADER_SIZE,
  WAL_HEADER_SIZE,
  type FrameScan,
  type WalFrame,
  type WalHeader,
} from '../../formats/sqlite/index.ts';
import type { PinnedFile } from '../../sqlite/index.ts';
import { GenerationReader, type PageFallback } from './generation-reader.ts';
import { PageBatch } from './page-batch.ts';

/** Bytes of one positioned read. Fewer than 1024 frames only where pages are larger than 4 KiB. */
const WINDOW_BYTES = 4_300_800;
const WINDOW_FRAMES_MAX = 1024;

/** A place in the WAL: just behind a commit frame, or at offset 32 of a generation without one. */
export interface WalPosition {
  readonly salt1: number;
  readonly salt2: number;
  /** Bytes from the start of the file. */
  readonly offset: number;
  /** Cumulative checksum up to `offset`. */
  readonly checksum1: number;
  readonly checksum2: number;
}

/** A part of one generation, in bytes from the start of the WAL. */
export interface ReplayRange {
  readonly salt1: number;
  readonly salt2: number;
  readonly from: number;
  readonly end: number;
}

/** What a capture found. */
export type CaptureOutcome =
  /** The end of the WAL was reached; `frames` committed frames were new. */
  | { readonly kind: 'end'; readonly frames: number }
  /** A whole window was read; there may be more. */
  | { readonly kind: 'more'; readonly frames: number }
  /** A new generation began while the batch still needs the old one's frames; nothing was read. */
  | { readonly kind: 'restarted' }
  /** Continuity is broken: only a full transaction helps. */
  | { readonly kind: 'lost'; readonly reason: string };

/** Checksums after the last scanned frame, unsigned. */
function checksumsOf({ pair }: FrameScan): [number, number] {
  const [checksum1 = 0, checksum2 = 0] = pair;
  return [checksum1 >>> 0, checksum2 >>> 0];
}

/** One buffer for all databases: a window is used up before the next `await`. */
interface Window {
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
  readonly scan: FrameScan;
}

let sharedWindow: Window | undefined;

function window(): Window {
  if (sharedWindow === undefined) {
    const buffer = new ArrayBuffer(WINDOW_BYTES);
    sharedWindow = {
      bytes: new Uint8Array(buffer),
      words: new Int32Array(buffer),
      scan: createFrameScan(WINDOW_FRAMES_MAX),
    };
  }
  return sharedWindow;
}

/**
 * Follows one WAL: reads what was committed since the last call into a {@link PageBatch}.
 *
 * Holds the position (salts, offset, cumulative checksum) in memory, so that "nothing new" is one read, and the open
 * transaction's frames, so that a large transaction is read once. Only frames up to a commit frame with matching salts and
 * checksums count. Spec: replication 10; design 3.5–3.7.
 */
export class WalCapture {
  readonly #wal: PinnedFile;
  readonly #pageSize: number;
  readonly #frameSize: number;
  readonly #windowFrames: number;
  readonly #small = new Uint8Array(WAL_HEADER_SIZE);
  /** Behind the last commit; undefined before the first generation. */
  #position: WalPosition | undefined;
  #bigEndian = false;
  /** Pages of the transaction that is being written: frames from `#position` on, consecutive. */
  #open = new Uint32Array(16);
  #openCount = 0;
  /** Frames of the open transaction that are being read again, 0 if none. */
  #again = 0;
  #openChecksum1 = 0;
  #openChecksum2 = 0;
  #commit = 0;
  #unregistered = false;
  readonly #registered: () => number;

  /** @param registered - how many frames SQLite counts in the current generation; see `LiveDatabase.registeredFrames`. */
  constructor(wal: PinnedFile, pageSize: number, registered: () => number = () => Infinity) {
    this.#registered = registered;
    this.#wal = wal;
    this.#pageSize = pageSize;
    this.#frameSize = WAL_FRAME_HEADER_SIZE + pageSize;
    this.#windowFrames = Math.min(WINDOW_FRAMES_MAX, Math.floor(WINDOW_BYTES / this.#frameSize));
  }

  /** Behind the last captured commit; undefined while the WAL has no valid header. */
  get position(): WalPosition | undefined {
    return this.#position;
  }

  /** Database size in pages after the last captured commit; 0 if none was captured in this generation. */
  get commit(): number {
    return this.#commit;
  }

  /** Committed frames captured in the current generation. */
  get frames(): number {
    return this.#position === undefined ? 0 : this.frameAt(this.#position.offset);
  }

  /** True if the last capture saw frames that SQLite does not count (yet): the registration wakes nobody. */
  get unregistered(): boolean {
    return this.#unregistered;
  }

  /** Number of the frame that starts at `offset`. */
  frameAt(offset: number): number {
    return (offset - WAL_HEADER_SIZE) / this.#frameSize;
  }

  /** The WAL header as it is now; undefined if the file is empty or the header is being written. */
  header(): WalHeader | undefined {
    if (this.#wal.read(this.#small, 0, WAL_HEADER_SIZE, 0) < WAL_HEADER_SIZE) return undefined;
    const parsed = parseWalHeader(this.#small);
    return parsed.kind === 'ok' ? parsed.header : undefined;
  }

  /** Follows no generation: the WAL is empty. */
  forget(): void {
    this.#position = undefined;
    this.#openCount = 0;
    this.#commit = 0;
  }

  /** Starts at offset 32 of the given generation. */
  startGeneration(header: WalHeader): void {
    const { salt1, salt2, checksum1, checksum2 } = header;
    this.#position = { salt1, salt2, offset: WAL_HEADER_SIZE, checksum1, checksum2 };
    this.#bigEndian = header.bigEndian;
    this.#openCount = 0;
    this.#again = 0;
    this.#commit = 0;
  }

  /**
   * True if the header is that of the generation that is being followed. A transaction that restarted the WAL and was rolled
   * back leaves a header that the next writer replaces by one with the same salts and its own count of checkpoints: as long as
   * nothing was captured behind it, its checksum counts, too.
   */
  #isCurrent(header: WalHeader | undefined): boolean {
    const at = this.#position;
    if (header?.salt1 !== at?.salt1 || header?.salt2 !== at?.salt2) return false;
    if (at === undefined || at.offset > WAL_HEADER_SIZE) return at !== undefined;
    return header?.checksum1 === at.checksum1 && header.checksum2 === at.checksum2;
  }

  /** True if the frame before the position still carries its salts and checksum: history was not rewritten. */
  historyHolds(): boolean {
    const at = this.#position;
    if (at === undefined || at.offset === WAL_HEADER_SIZE) return true;
    return this.#frameEndsWith(at.offset, at.checksum1, at.checksum2);
  }

  /** True if there may be something new: another generation, or a frame, committed or not, behind the position. */
  hasMore(): boolean {
    const at = this.#position;
    const current = this.header();
    if (current === undefined) return false;
    if (current.salt1 !== at?.salt1 || current.salt2 !== at.salt2) return true;
    return this.#frameHeader(this.frames) !== undefined;
  }

  /**
   * Reads up to one window of what is new into `batch`, across a change of generation if there was one. The caller vouches for
   * custody: a new generation is read from its start.
   *
   * @param gather - copy images to memory while they are in the window anyway.
   * @param framesMax - smaller windows, to stop near a limit; at least 1.
   */
  capture(batch: PageBatch, gather: boolean, framesMax: number = Infinity): CaptureOutcome {
    let header = this.header();
    if (this.#isCurrent(header) && !this.historyHolds()) {
      // The WAL may have restarted between the two readings: its new header was written before its new frames.
      header = this.header();
      if (this.#isCurrent(header)) {
        return { kind: 'lost', reason: 'wal overwritten by another process' };
      }
    }
    // An emptied WAL, or a header that is just being written: what follows will wake us again.
    if (header === undefined) return { kind: 'end', frames: 0 };
    if (header.pageSize !== this.#pageSize) return { kind: 'lost', reason: 'page size changed' };
    if (!this.#isCurrent(header)) {
      if (batch.inWal > 0) return { kind: 'restarted' };
      this.startGeneration(header);
    }
    const open = this.#openTransactionHolds();
    const limit = this.#frameLimit();
    if (limit === undefined) return { kind: 'more', frames: 0 };
    const left = limit - this.frames - this.#openCount;
    if (left <= 0) return { kind: 'end', frames: 0 };
    return this.#readOn(batch, gather, {
      window: Math.min(this.#windowFrames, framesMax, left),
      open,
      left,
    });
  }

  #readOn(
    batch: PageBatch,
    gather: boolean,
    { window, open, left }: { window: number; open: boolean; left: number },
  ): CaptureOutcome {
    const start = this.frames;
    let scanned = this.#readWindow(batch, gather, window);
    if (open && scanned < window && this.frames === start && this.#again === 0) {
      // It may have been rolled back and partly overwritten, its old frames still in place behind: read it again.
      this.#again = this.#openCount;
      this.#openCount = 0;
      scanned = this.#readWindow(batch, gather, window);
    }
    // All of it is there as before: there is no more, even if a window was full.
    const unchanged = this.#again > 0 && this.frames === start && this.#openCount >= this.#again;
    const kind = scanned < window || scanned === left || unchanged ? 'end' : 'more';
    if (kind === 'end' || this.frames > start) this.#again = 0;
    return { kind, frames: this.frames - start };
  }

  /**
   * How many frames of the current generation may be believed: those that SQLite has registered as committed. Undefined if the
   * WAL restarted while we asked.
   *
   * A writer puts its frames into the WAL first and registers them then. If it dies in between, or its fsync fails, the frames
   * stay, valid to the last checksum, and the next writer overwrites them. SQLite's count belongs to the generation it has
   * registered last, so it counts for this one only if the frame it ends with is one of this generation that ends a transaction.
   */
  #frameLimit(): number | undefined {
    this.#unregistered = false;
    const known = this.frames + this.#openCount;
    if (this.#frameHeader(known) === undefined && this.#openCount === 0) return known;
    const count = this.#registered();
    if (count === Infinity) return count;
    if (!this.#isCurrent(this.header())) return undefined;
    const ends = count > this.frames && (this.#frameHeader(count - 1)?.commit ?? 0) > 0;
    if (!ends) this.#openCount = 0;
    const believed = ends ? count : this.frames;
    this.#unregistered = this.#frameHeader(believed) !== undefined;
    return believed;
  }

  /** Header of frame `frame` if it carries the generation's salts, valid or not. */
  #frameHeader(frame: number): WalFrame | undefined {
    const header = this.#small.subarray(0, WAL_FRAME_HEADER_SIZE);
    const offset = WAL_HEADER_SIZE + frame * this.#frameSize;
    if (this.#wal.read(header, 0, header.length, offset) < header.length) return undefined;
    const found = parseWalFrame(header);
    const at = this.#position;
    return found.salt1 === at?.salt1 && found.salt2 === at.salt2 ? found : undefined;
  }

  /**
   * Verifies the frames of a generation from its start up to `end`, a commit boundary, and puts those from offset `from` on into
   * `batch`. True if the WAL holds that generation and the chain reaches exactly `end`; only then the position is there.
   */
  async replay(batch: PageBatch, { salt1, salt2, from, end }: ReplayRange): Promise<boolean> {
    const header = this.header();
    // It may have ended since the caller looked: what begins then is not what the caller knows.
    if (header?.salt1 !== salt1 || header.salt2 !== salt2) return false;
    this.startGeneration(header);
    const skipped = new PageBatch(this.#pageSize);
    for (const [target, stop] of [
      [skipped, from],
      [batch, end],
    ] as const) {
      while ((this.#position?.offset ?? 0) < stop) {
        const left = this.frameAt(stop) - this.frames - this.#openCount;
        const wanted = Math.min(this.#windowFrames, left);
        if (wanted <= 0 || this.#readWindow(target, false, wanted) < wanted) return false;
        await yieldToLoop();
      }
      if (this.#position?.offset !== stop || this.#openCount > 0) return false;
    }
    return true;
  }

  /** Reads batches' images of the current generation; see {@link GenerationReader}. */
  reader(fallback: PageFallback): GenerationReader {
    const at = this.#position;
    return new GenerationReader(this.#wal, this.#pageSize, at, fallback);
  }

  /** Bytes of one frame. */
  get frameSize(): number {
    return this.#frameSize;
  }

  /** Reads one window behind the open transaction's frames; returns how many valid frames it held. */
  #readWindow(batch: PageBatch, gather: boolean, frames: number): number {
    const at = this.#position;
    assert(at !== undefined, 'a generation was started');
    const { bytes, scan, words } = window();
    const first = this.frameAt(at.offset) + this.#openCount;
    const offset = WAL_HEADER_SIZE + first * this.#frameSize;
    const length = this.#wal.read(bytes, 0, frames * this.#frameSize, offset);
    scan.salt1 = at.salt1;
    scan.salt2 = at.salt2;
    scan.bigEndian = this.#bigEndian;
    scan.pageSize = this.#pageSize;
    scan.pair[0] = this.#openCount === 0 ? at.checksum1 : this.#openChecksum1;
    scan.pair[1] = this.#openCount === 0 ? at.checksum2 : this.#openChecksum2;
    const count = scanFrames(words, length, scan);
    this.#appendOpen(scan.pgnos, count);
    if (scan.lastCommit >= 0) this.#takeCommitted(batch, first, scan);
    [this.#openChecksum1, this.#openChecksum2] = checksumsOf(scan);
    if (gather && scan.lastCommit >= 0) this.#gatherWindow(batch, first, scan);
    return count;
  }

  #appendOpen(pgnos: Uint32Array, count: number): void {
    if (this.#openCount + count > this.#open.length) {
      const wider = new Uint32Array(Math.max(this.#open.length * 2, this.#openCount + count));
      wider.set(this.#open.subarray(0, this.#openCount));
      this.#open = wider;
    }
    this.#open.set(pgnos.subarray(0, count), this.#openCount);
    this.#openCount += count;
  }

  /** Moves the open transaction's frames up to the window's last commit into the batch. */
  #takeCommitted(batch: PageBatch, first: number, scan: FrameScan): void {
    const at = this.#position;
    assert(at !== undefined, 'a generation was started');
    const base = this.frameAt(at.offset);
    const end = first + scan.lastCommit + 1;
    for (let frame = base; frame < end; frame++) {
      batch.put(this.#open[frame - base] ?? 0, frame);
    }
    this.#open.copyWithin(0, end - base, this.#openCount);
    this.#openCount -= end - base;
    this.#commit = scan.commits[scan.lastCommit] ?? 0;
    this.#position = {
      salt1: at.salt1,
      salt2: at.salt2,
      offset: WAL_HEADER_SIZE + end * this.#frameSize,
      checksum1: scan.commitChecksum1,
      checksum2: scan.commitChecksum2,
    };
  }

  /** Copies the newest images that this window holds while they are at hand. */
  #gatherWindow(batch: PageBatch, first: number, scan: FrameScan): void {
    const { bytes } = window();
    for (let i = 0; i <= scan.lastCommit; i++) {
      const image = batch.claim(scan.pgnos[i] ?? 0, first + i);
      if (image === undefined) continue;
      const start = i * this.#frameSize + WAL_FRAME_HEADER_SIZE;
      image.set(bytes.subarray(start, start + this.#pageSize));
    }
  }

  /** True if an open transaction is known. Forgets it if its end was overwritten (rolled back, or checksums rewritten). */
  #openTransactionHolds(): boolean {
    const at = this.#position;
    if (this.#openCount === 0 || at === undefined) return false;
    const end = at.offset + this.#openCount * this.#frameSize;
    if (!this.#frameEndsWith(end, this.#openChecksum1, this.#openChecksum2)) this.#openCount = 0;
    return this.#openCount > 0;
  }

  /** True if the frame that ends at `end` carries the generation's salts and this cumulative checksum. */
  #frameEndsWith(end: number, checksum1: number, checksum2: number): boolean {
    const at = this.#position;
    const header = this.#small.subarray(0, WAL_FRAME_HEADER_SIZE);
    if (this.#wal.read(header, 0, header.length, end - this.#frameSize) < header.length)
      return false;
    const frame = parseWalFrame(header);
    return (
      frame.salt1 === at?.salt1 &&
      frame.salt2 === at.salt2 &&
      frame.checksum1 === checksum1 &&
      frame.checksum2 === checksum2
    );
  }
}
