import { WAL_HEADER_SIZE } from '../../formats/sqlite/index.ts';
import { assert } from '../../lib/assert.ts';
import { yieldToLoop } from '../../lib/clock.ts';
import type { LiveDatabase } from '../../sqlite/index.ts';
import { ContinuityLost } from './continuity-lost.ts';
import type { GenerationReader } from './generation-reader.ts';
import { PageBatch } from './page-batch.ts';
import {
  fullTransaction,
  increment,
  type FullReason,
  type Transaction,
  type WalRange,
} from './transaction.ts';
import { WalCapture, type WalPosition } from './wal-capture.ts';

/** Images in memory beyond which a transaction file is written at once, whatever the pace. */
const MEMORY_BYTES_MAX = 24 * 1024 * 1024;

/** Windows that are read under the write lock. */
const LOCKED_TURNS_MAX = 4;

/** Smallest window near the byte limit of a transaction file. */
const LIMITED_FRAMES_MIN = 64;

export interface CaptureRequest {
  /** Stop at a commit behind this many bytes; 0 = read to the end. */
  readonly limitBytes: number;
  /** Leave no image in the WAL. */
  readonly gather: boolean;
  /** True: the event loop gets a turn after each window. Never while the write lock is held. */
  readonly yields: boolean;
}

export interface Captured {
  readonly frames: number;
  /** False if the byte limit cut it. */
  readonly end: boolean;
}

/**
 * One unbroken custody of a database: from the begin of our first reader until continuity is lost or the database is
 * closed. Captures into the current batch; {@link freeze} turns the batch into a transaction.
 */
export class CaptureSession {
  readonly live: LiveDatabase;
  readonly capture: WalCapture;
  /** Database size after the newest frozen transaction; the base of growth. */
  previousCommit: number;
  #batch: PageBatch;
  #reader: GenerationReader | undefined;
  /** What the current batch covers, in its newest generation; undefined while it is empty. */
  #range: WalRange | undefined;
  /** Database size after the batch's newest commit. */
  #commit = 0;
  /** A batch of a generation that ended while its images were still needed: the next transaction. */
  #cutOff: Transaction | undefined;
  /** Frames captured before every reader of ours began may be overwritten: only until the first gather. */
  #pinned = false;

  constructor(live: LiveDatabase, capture: WalCapture, previousCommit: number) {
    this.live = live;
    this.capture = capture;
    this.previousCommit = previousCommit;
    this.#batch = new PageBatch(live.pageSize);
  }

  /** Frames captured since custody began. */
  framesTotal = 0;

  /** Distinct pages that wait to be frozen. */
  get pages(): number {
    return this.#batch.count + (this.#cutOff === undefined ? 0 : 1);
  }

  /** Bytes of WAL that wait to be frozen. */
  get bytes(): number {
    return this.#range?.size ?? 0;
  }

  /** True if so much is in memory that a transaction file should be written now. */
  get memoryFull(): boolean {
    return this.#batch.memoryBytes >= MEMORY_BYTES_MAX;
  }

  /** Memory that gathering now would need in all, in bytes. */
  get gatherBytes(): number {
    return this.#batch.memoryBytes + this.#batch.inWal * this.live.pageSize;
  }

  /**
   * Reads what was committed since the last call.
   *
   * @throws ContinuityLost if the frames in between may be gone
   */
  async captureNow(request: CaptureRequest): Promise<Captured> {
    let frames = 0;
    for (;;) {
      const piece = this.#capturePiece(request);
      if (piece === 'again') continue;
      frames += piece.frames;
      const limited = request.limitBytes > 0 && this.bytes >= request.limitBytes;
      if (piece.end || limited) return { frames, end: piece.end };
      if (request.yields) await yieldToLoop();
    }
  }

  /**
   * The same without giving the event loop a turn, at most about `framesMax` frames, all gathered: for use under the write lock.
   * False if there is more.
   */
  captureLocked(framesMax: number): boolean {
    let frames = 0;
    for (let turn = 0; turn < LOCKED_TURNS_MAX && frames < framesMax; turn++) {
      const limitBytes = this.bytes + (framesMax - frames) * this.capture.frameSize;
      const piece = this.#capturePiece({ limitBytes, gather: true, yields: false });
      if (piece === 'again') continue;
      frames += piece.frames;
      if (piece.end) return true;
    }
    return false;
  }

  #capturePiece(request: CaptureRequest): Captured | 'again' {
    const before = this.capture.position;
    const empty = this.#batch.count === 0;
    const framesMax =
      request.limitBytes === 0
        ? Infinity
        : Math.max(
            LIMITED_FRAMES_MIN,
            Math.ceil((request.limitBytes - this.bytes) / this.capture.frameSize),
          );
    const outcome = this.capture.capture(this.#batch, request.gather, framesMax);
    if (outcome.kind === 'lost') throw new ContinuityLost(outcome.reason);
    if (outcome.kind === 'restarted') {
      this.#cutOffGeneration();
      return 'again';
    }
    this.framesTotal += outcome.frames;
    if (outcome.frames > 0) this.#noteRange(before, empty);
    if (request.gather) this.gather();
    return { frames: outcome.frames, end: outcome.kind === 'end' };
  }

  #noteRange(before: WalPosition | undefined, empty: boolean): void {
    const at = this.capture.position;
    assert(at !== undefined, 'frames were captured in a generation');
    const same = before?.salt1 === at.salt1 && before.salt2 === at.salt2;
    const { salt1, salt2 } = at;
    const known = this.#range;
    const goesOn = known?.salt1 === salt1 && known.salt2 === salt2;
    const offset = goesOn ? known.offset : empty && same ? before.offset : WAL_HEADER_SIZE;
    this.#range = { offset, size: at.offset - offset, salt1, salt2 };
    this.#commit = this.capture.commit;
    if (this.#reader === undefined || !goesOn) this.#reader = this.#newReader();
  }

  #newReader(): GenerationReader {
    const reader = this.capture.reader((pgno, target) => this.live.readPage(pgno, target));
    if (this.#pinned) reader.pin();
    return reader;
  }

  /** Copies every image that only the WAL holds to memory, so that the WAL may restart. */
  gather(): void {
    if (this.#reader !== undefined) this.#batch.gather(this.#reader);
    this.#cutOff?.gather();
  }

  /** From now on every captured frame was committed under a reader of ours. */
  pin(): void {
    assert(this.#batch.inWal === 0, 'images are gathered before the reader changes');
    this.#pinned = true;
    this.#reader?.pin();
  }

  /** The WAL restarted over frames that were in the database file before our first reader began. */
  #cutOffGeneration(): void {
    if (this.#pinned || this.#reader?.ended() !== true || this.#cutOff !== undefined) {
      throw new ContinuityLost('wal restarted over captured frames');
    }
    this.#cutOff = this.#freezeBatch();
  }

  /** Takes what was captured as one transaction; undefined if there is nothing. */
  freeze(): Transaction | undefined {
    const cutOff = this.#cutOff;
    if (cutOff !== undefined) {
      this.#cutOff = undefined;
      return cutOff;
    }
    return this.#freezeBatch();
  }

  #freezeBatch(): Transaction | undefined {
    const range = this.#range;
    const reader = this.#reader;
    if (range === undefined || reader === undefined) return undefined;
    const commit = this.#commit;
    const transaction = increment({
      batch: this.#batch,
      reader,
      readPage: (pgno, target) => this.live.readPage(pgno, target),
      commit,
      previousCommit: this.previousCommit,
      range,
    });
    this.#reset(commit);
    return transaction;
  }

  /**
   * Everything in the database as one transaction, as of the end of the WAL. The reader must stand; the whole WAL is read.
   * Undefined while the database has no page yet.
   *
   * @throws ContinuityLost if the WAL restarts again and again meanwhile
   */
  async freezeFull(reason: FullReason): Promise<Transaction | undefined> {
    for (let attempt = 0; attempt < 5; attempt++) {
      const transaction = await this.#tryFreezeFull(reason);
      if (transaction !== 'restarted') return transaction;
    }
    throw new ContinuityLost('wal restarted while it was read');
  }

  async #tryFreezeFull(reason: FullReason): Promise<Transaction | undefined | 'restarted'> {
    this.#reset(0);
    this.#cutOff = undefined;
    this.#pinned = false;
    const header = this.capture.header();
    if (header === undefined) this.capture.forget();
    else {
      this.capture.startGeneration(header);
      let piece;
      do {
        piece = this.capture.capture(this.#batch, false);
        if (piece.kind === 'lost') throw new ContinuityLost(piece.reason);
        if (piece.kind === 'restarted') return 'restarted';
        await yieldToLoop();
      } while (piece.kind === 'more');
    }
    const at = this.capture.position;
    const reader = this.#newReader();
    // A writer puts the new header before the new frames: unchanged salts prove that nothing was overwritten.
    if (header !== undefined && reader.ended()) return 'restarted';
    const { pageSize } = this.live;
    const commit =
      this.capture.commit > 0 ? this.capture.commit : Math.floor(this.live.fileSize() / pageSize);
    if (commit === 0) return undefined;
    const offset = WAL_HEADER_SIZE;
    const range =
      at === undefined
        ? { offset, size: 0, salt1: 0, salt2: 0 }
        : { offset, size: at.offset - offset, salt1: at.salt1, salt2: at.salt2 };
    const transaction = fullTransaction({
      batch: this.#batch,
      reader,
      file: this.live,
      commit,
      range,
      reason,
    });
    this.#reset(commit);
    return transaction;
  }

  /**
   * The database as of the captured position, as a transaction of its own that leaves the session as it is. Everything captured
   * must have been frozen, and no checkpoint of ours may run until it is encoded: then nobody can move a newer page into the
   * database file. Undefined while the database has no page.
   *
   * @throws ContinuityLost if the WAL restarts again and again meanwhile
   */
  async view(): Promise<Transaction | undefined> {
    assert(this.pages === 0, 'everything captured is frozen');
    const { live } = this;
    const at = this.capture.position;
    const batch = new PageBatch(live.pageSize);
    const capture = new WalCapture(live.wal(), live.pageSize);
    const readPage = (pgno: number, target: Uint8Array): void => live.readPage(pgno, target);
    // A reader of the position's generation notices by itself if that one has ended: then all of it is in the database file.
    const reader = this.capture.reader(readPage);
    const range = at && { ...at, from: WAL_HEADER_SIZE, end: at.offset };
    const whole = range !== undefined && (await capture.replay(batch, range));
    const commit = this.previousCommit;
    if (commit === 0) return undefined;
    const ended = reader.ended();
    if (at !== undefined && !whole && !ended)
      throw new ContinuityLost('wal overwritten by another process');
    return fullTransaction({
      batch: whole ? batch : new PageBatch(live.pageSize),
      reader,
      file: live,
      commit,
      range: lastFrame(at, this.capture.frameSize),
      reason: { reason: '', level: 'info' },
    });
  }

  #reset(previousCommit: number): void {
    this.previousCommit = previousCommit;
    this.#batch = new PageBatch(this.live.pageSize);
    this.#range = undefined;
    this.#reader = undefined;
  }
}

/** The place in the WAL that a snapshot stands for: its last frame. Spec: formats 2.22. */
function lastFrame(at: WalPosition | undefined, frameSize: number): WalRange {
  const offset = Math.max(WAL_HEADER_SIZE, (at?.offset ?? 0) - frameSize);
  const size = Math.max(0, (at?.offset ?? offset) - offset);
  return { offset, size, salt1: at?.salt1 ?? 0, salt2: at?.salt2 ?? 0 };
}
