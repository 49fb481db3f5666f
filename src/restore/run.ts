import { LTX_HEADER_SIZE } from '../formats/ltx/index.ts';
import { LitestreamError } from '../lib/errors.ts';
import type { FrameSink } from './index-reader.ts';
import { foldFrame, RUN_FRAME_BYTES, RUN_PAGE_BYTES } from './page-kernel.ts';

/** A part of a file's page frames that is decoded in one go. */
export interface Run {
  /** Bytes from the start of the file. */
  readonly offset: number;
  readonly bytes: number;
  readonly pages: number;
  /** `foldFrame` over the index entries. */
  readonly fold: number;
}

/** A run and the number of its file in the plan. */
export interface PlannedRun extends Run {
  readonly file: number;
}

/** CRC of a decoded run, to be combined with those of the file's other parts. */
export interface RunState {
  /** Register after the run, seeded with 0. */
  readonly state: bigint;
  /** Bytes that were fed to the CRC. */
  readonly hashed: number;
}

/** Decodes runs and writes their newest pages; one of the two ways to do that. */
export interface RunApplier {
  /** Runs `from` up to, not including, `to`, in any order. All reads and writes have ended when this does. */
  apply(from: number, to: number): Promise<void>;
  /** Of a run that was applied. */
  state(run: number): RunState;
  /** Page 1, once its run was applied. It is not written: that comes last. */
  readonly pageOne: Uint8Array;
  close(): Promise<void>;
}

/** Cuts a file's frames into runs. */
export class RunCutter {
  readonly runs: Run[] = [];
  readonly #pagesMax: number;
  #offset: number = LTX_HEADER_SIZE;
  #bytes = 0;
  #pages = 0;
  #fold = 0;

  constructor(pageSize: number) {
    this.#pagesMax = Math.floor(RUN_PAGE_BYTES / pageSize);
  }

  readonly add: FrameSink = (pgno, offset, size) => {
    if (this.#pages === this.#pagesMax || this.#bytes + size > RUN_FRAME_BYTES) this.flush();
    if (this.#pages === 0) this.#offset = offset;
    this.#bytes += size;
    this.#pages += 1;
    this.#fold = foldFrame(this.#fold, pgno, size);
  };

  flush(): void {
    if (this.#pages === 0) return;
    this.runs.push({
      offset: this.#offset,
      bytes: this.#bytes,
      pages: this.#pages,
      fold: this.#fold,
    });
    this.#bytes = 0;
    this.#pages = 0;
    this.#fold = 0;
  }
}

/** What was decoded must be what the index promised, because the index has decided which pages are written. */
export function checkRun(run: Run, decoded: Pick<Run, 'pages' | 'fold'>): void {
  if (decoded.pages === run.pages && decoded.fold === run.fold) return;
  const details = {
    field: 'page frames',
    offset: run.offset,
    expected: `${run.pages} frames as in the page index`,
    found: `${decoded.pages} others`,
  };
  const where = `page frames at byte ${run.offset}: expected ${details.expected}, found ${details.found}`;
  throw new LitestreamError(
    'ERR_LTX_CORRUPTED',
    `page index disagrees with the page frames (${where})`,
    { details },
  );
}
