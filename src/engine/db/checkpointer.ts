import { assert } from '../../lib/assert.ts';
import { type Clock, sleep } from '../../lib/clock.ts';
import { errorMessage } from '../../lib/errors.ts';
import type { CheckpointResult } from '../../sqlite/index.ts';
import type { Logger } from '../../telemetry/index.ts';
import { ContinuityLost } from './continuity-lost.ts';
import type { CaptureSession } from './session.ts';

/**
 * Frames that may be left to be moved while the write lock is held. Doubles with each round in which writers were faster:
 * at full speed most frames of a tail are versions of the same few pages, and only one of each is moved.
 */
const TAIL_FRAMES = 256;
const TAIL_FRAMES_MAX = 1024;
/** Memory that images may need so that the WAL can restart, in bytes; more goes into a file first. */
const GATHER_BYTES_MAX = 32 * 1024 * 1024;
/** Between two captures while a checkpoint runs on the thread. */
const BULK_CAPTURE_MS = 2;
/** More frames than this go to the worker thread. */
const MAIN_THREAD_FRAMES_MAX = 512;
/** Rounds of phase 1, and tries of phase 2, before the next turn gets its chance. */
const ROUNDS_MAX = 12;
/** How long the write lock is asked for without a break. */
const LOCK_SPIN_MS = 4;
const LOCK_SPINS = 3;
const LOCK_ATTEMPTS = 8;
/** How long a reader is asked for while the write lock stands in for it. */
const RESUME_SPIN_MS = 20;

/** How a checkpoint ended. */
export type CheckpointOutcome =
  /** Every frame is in the database file: the next write restarts the WAL. */
  | 'complete'
  /** A reader of somebody else's keeps frames from being moved. */
  | 'blocked'
  /** The write lock was not to be had, or writers were faster: go on soon. */
  | 'contended'
  /** Somebody keeps the write lock. */
  | 'locked';

export interface CheckpointerOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  /** Writes what is captured as soon as possible, so that its images leave memory. */
  readonly flush: () => Promise<void>;
  /** Gathers what is on its way into a file, if that needs no more memory than this; false if it does. */
  readonly gatherPending: (bytesMax: number) => boolean;
}

/**
 * The two-phase checkpoint. Phase 1, without the write lock: a new reader begins, everything is captured, the old reader
 * ends, PASSIVE moves what it can; repeated until the tail is short. Phase 2, under the write lock for milliseconds:
 * capture the tail, end the reader, PASSIVE, begin the reader, give the lock back. Nothing is ever committed.
 *
 * At every instant a reader of ours or the write lock stands, and no reader ends before a capture that started after its
 * successor's begin has reached the end of the WAL. See DESIGN.md.
 */
export class Checkpointer {
  readonly #options: CheckpointerOptions;
  /** Frames of the current generation known to be in the database file. */
  #moved = 0;
  #generation: string | undefined;

  constructor(options: CheckpointerOptions) {
    this.#options = options;
  }

  /** Frames that a checkpoint would have to move now. */
  pending(session: CaptureSession): number {
    this.#follow(session);
    return Math.max(0, session.capture.frames - this.#moved);
  }

  /**
   * @throws ContinuityLost if SQLite's frame count and ours disagree
   */
  async run(session: CaptureSession, signal: AbortSignal): Promise<CheckpointOutcome> {
    for (let round = 0; round < ROUNDS_MAX && !signal.aborted; round++) {
      const tail = Math.min(TAIL_FRAMES_MAX, TAIL_FRAMES * 2 ** round);
      if (this.pending(session) > tail && (await this.#phaseOne(session)) === 'blocked') {
        return 'blocked';
      }
      await session.captureNow({ limitBytes: 0, gather: false, yields: true });
      if (this.pending(session) > tail) continue;
      const outcome = await this.#phaseTwo(session, tail);
      if (outcome !== 'again') return outcome;
    }
    return 'contended';
  }

  /** One round. Blocked if nothing could be moved. */
  async #phaseOne(session: CaptureSession): Promise<'moved' | 'blocked'> {
    const { live, capture } = session;
    if (!live.beginSuccessor()) return 'moved';
    try {
      await this.#captureAll(session);
    } catch (error) {
      live.dropSuccessor();
      throw error;
    }
    live.promoteSuccessor();
    session.pin();
    const before = this.#moved;
    const position = capture.position;
    const bulk = this.pending(session) > MAIN_THREAD_FRAMES_MAX;
    const result = bulk ? await this.#bulk(session) : live.checkpointTail();
    this.#note(session, result, position);
    const stuck = !result.busy && this.#moved === before;
    return stuck && this.pending(session) > TAIL_FRAMES ? 'blocked' : 'moved';
  }

  /** The checkpoint on the thread; meanwhile the capture keeps up with the writers. */
  async #bulk(session: CaptureSession): Promise<CheckpointResult> {
    const running = session.live.checkpointBulk();
    const state = { done: false };
    const ended = running.then(
      () => {
        state.done = true;
      },
      () => {
        state.done = true;
      },
    );
    for (;;) {
      const pause = new AbortController();
      const slept = sleep(this.#options.clock, BULK_CAPTURE_MS, pause.signal).catch(
        () => undefined,
      );
      await Promise.race([ended, slept]);
      pause.abort();
      if (state.done) return running;
      try {
        await session.captureNow({ limitBytes: 0, gather: false, yields: true });
      } catch (error) {
        await ended;
        throw error;
      }
    }
  }

  /** Reads to the end of the WAL and leaves no image there. */
  async #captureAll(session: CaptureSession): Promise<void> {
    await session.captureNow({ limitBytes: 0, gather: false, yields: true });
    while (!this.#gather(session)) {
      // Too much for memory: put it into a file instead, and read on.
      await this.#options.flush();
      await session.captureNow({ limitBytes: 0, gather: false, yields: true });
    }
    await session.captureNow({ limitBytes: 0, gather: true, yields: true });
  }

  /** Leaves no image in the WAL. False if that takes too much memory. */
  #gather(session: CaptureSession): boolean {
    const left = GATHER_BYTES_MAX - session.gatherBytes;
    if (left < 0 || !this.#options.gatherPending(left)) return false;
    session.gather();
    return true;
  }

  async #phaseTwo(session: CaptureSession, tail: number): Promise<CheckpointOutcome | 'again'> {
    const { live } = session;
    if (!this.#gather(session)) {
      await this.#options.flush();
      return 'again';
    }
    const lock = await this.#takeLock(session, tail);
    if (lock !== 'taken') return lock;
    let result: CheckpointResult | undefined;
    try {
      if (
        session.captureLocked(tail) &&
        this.pending(session) <= 2 * tail &&
        this.#gather(session)
      ) {
        live.suspendReader();
        session.pin();
        result = live.checkpointTail();
      }
    } finally {
      this.#releaseLock(session);
    }
    if (result === undefined) return 'again';
    this.#log(result);
    // Busy: another connection is in the middle of a checkpoint of its own.
    if (result.busy || result.log < 0) return 'contended';
    this.#verifyCount(session, result);
    this.#moved = Math.max(this.#moved, result.checkpointed);
    return result.checkpointed === result.log ? 'complete' : 'blocked';
  }

  /** Under the lock both counts must be the same, unless the WAL was emptied because everything had been moved. */
  #verifyCount(session: CaptureSession, result: CheckpointResult): void {
    const { frames } = session.capture;
    if (result.log === frames) return;
    if (result.log === 0 && session.capture.header() === undefined) {
      this.#moved = frames;
      return;
    }
    throw new ContinuityLost(
      `sqlite counts ${result.log} frames in the wal, ${frames} were captured`,
    );
  }

  /** Takes the write lock; 'again' if the tail has grown meanwhile, 'locked' if somebody keeps the lock. */
  async #takeLock(session: CaptureSession, tail: number): Promise<'taken' | 'again' | 'locked'> {
    const { clock } = this.#options;
    for (let attempt = 0; attempt < LOCK_ATTEMPTS; attempt++) {
      // Back to back against a writer at full speed; somebody who keeps the lock is asked politely.
      const until = clock.monotonic() + (attempt < LOCK_SPINS ? LOCK_SPIN_MS : 0);
      do {
        if (session.live.beginBarrier()) return 'taken';
      } while (clock.monotonic() < until);
      await sleep(clock, attempt < LOCK_SPINS ? 1 : 5);
      await session.captureNow({ limitBytes: 0, gather: true, yields: true });
      if (this.pending(session) > tail) return 'again';
    }
    return 'locked';
  }

  /** The reader comes back before the lock goes: custody is never broken. */
  #releaseLock(session: CaptureSession): void {
    const { clock } = this.#options;
    const { live } = session;
    const until = clock.monotonic() + RESUME_SPIN_MS;
    try {
      while (!live.resumeReader() && clock.monotonic() <= until);
    } catch (error) {
      throw new ContinuityLost(`read transaction could not be renewed: ${errorMessage(error)}`);
    } finally {
      // Whatever happened to our reader, the application's writers come first.
      live.endBarrier();
    }
    if (!live.readerStands) throw new ContinuityLost('read transaction could not be renewed');
  }

  /** Takes over a phase 1 result if the generation is still the one it was for. */
  #note(
    session: CaptureSession,
    result: CheckpointResult,
    position: CaptureSession['capture']['position'],
  ): void {
    this.#log(result);
    // Without the lock the counts may differ for a moment: a commit is in the WAL before SQLite has registered it.
    const header = session.capture.header();
    const same = header?.salt1 === position?.salt1 && header?.salt2 === position?.salt2;
    if (!same || result.log < 0 || position === undefined) return;
    assert(result.checkpointed <= result.log, 'no more frames are moved than there are');
    this.#moved = Math.max(this.#moved, result.checkpointed);
  }

  #log(result: CheckpointResult): void {
    const text = `${result.busy ? 1 : 0},${result.log},${result.checkpointed}`;
    this.#options.logger.log('debug', 'checkpoint', { mode: 'PASSIVE', result: text });
    if (result.busy) return;
    this.#options.logger.log('debug', 'checkpoint completed', {
      mode: 'PASSIVE',
      frames: result.log,
      checkpointed: result.checkpointed,
    });
  }

  /** Forgets the count when a new generation has begun. */
  #follow(session: CaptureSession): void {
    const at = session.capture.position;
    const generation = at === undefined ? undefined : `${at.salt1}-${at.salt2}`;
    if (generation === this.#generation) return;
    this.#generation = generation;
    this.#moved = 0;
  }
}
