import { formatTxid, type LtxHeader } from '../formats/ltx/index.ts';
import { present } from '../lib/assert.ts';
import { throwIfAborted } from '../lib/clock.ts';
import { LitestreamError } from '../lib/errors.ts';
import type { OpenFile } from '../lib/file-system.ts';
import type { FileInfo } from '../storage/index.ts';
import { fileDamage, nameFile } from './damage.ts';
import { type DecodedRun, PageKernel } from './page-kernel.ts';
import { PageOwners } from './page-owners.ts';
import { isLocal, openRange, type RangeReader, type SourceContext } from './source.ts';
import { diagnose, isChecksum, type Run, type Survey, surveyFile } from './survey.ts';

/** One call with more makes the kernel spend two to three times the processor time. Spec: performance 8. */
const WRITE_BYTES = 128 * 1024;
/** Superseded pages of the first file that may be written to join two writes. */
const BRIDGE_PAGES = 32;
/** Frames read by one task in a row: enough to make a request's latency small beside its transfer. */
const REMOTE_SEGMENT_BYTES = 8 << 20;
const LOCAL_SEGMENT_BYTES = 2 << 20;
/** Small files kept from the survey, so that each is read once. */
const CACHE_BYTES = 16 << 20;
/** A page costs at least so many bytes of its file: its frame and its entry in the page index. */
const PAGE_COST_MIN = 10;
/** Local files are read in parallel only to keep disk and processor busy at the same time. */
const LOCAL_TASKS = 3;

export interface ApplyOptions {
  readonly context: SourceContext;
  readonly files: readonly FileInfo[];
  /** Empty, open for writing. */
  readonly output: OpenFile;
  /** Requests at the same time, at least 1. */
  readonly parallelism: number;
  /** Called with the size before the first byte is written. */
  readonly onSize: (bytes: number) => Promise<void>;
  /** Called with the number of file bytes dealt with since the last call. */
  readonly onBytes: (bytes: number) => void;
}

/** Runs of one file that a task decodes one after the other. */
interface Segment {
  readonly number: number;
  readonly from: number;
  readonly to: number;
}

interface Progress {
  /** Registers and lengths of the decoded runs, by run. */
  readonly states: bigint[];
  readonly hashed: Float64Array;
  left: number;
}

function range(file: FileInfo): string {
  return `(${formatTxid(file.minTxid)},${formatTxid(file.maxTxid)})`;
}

/** The headers are believed, not the names; then both must agree. Spec: formats 2.20. */
function checkHeaders(surveys: readonly Survey[]): void {
  let last: Survey | undefined;
  for (const survey of surveys) {
    const { file, header } = survey;
    if (last === undefined && header.minTxid !== 1n) {
      throw fileDamage(file, 'cannot decode non-snapshot LTX file to SQLite database', {
        field: 'minTxid',
        offset: 16,
        expected: formatTxid(1n),
        found: formatTxid(header.minTxid),
      });
    }
    if (last !== undefined) checkNeighbours(last, survey);
    if (header.minTxid !== file.minTxid || header.maxTxid !== file.maxTxid) {
      throw fileDamage(file, 'header disagrees with the file name', {
        field: 'minTxid and maxTxid',
        offset: 16,
        expected: range(file),
        found: range({ ...file, ...header }),
      });
    }
    last = survey;
  }
}

function checkNeighbours(last: Survey, { file, header }: Survey): void {
  const before = last.header;
  if (before.pageSize !== header.pageSize) {
    throw fileDamage(
      file,
      `input files have mismatched page sizes: ${before.pageSize} != ${header.pageSize}`,
      {
        field: 'pageSize',
        offset: 8,
        expected: before.pageSize,
        found: header.pageSize,
      },
    );
  }
  if (header.minTxid <= before.maxTxid + 1n && header.maxTxid > before.maxTxid) return;
  const from = range({ ...last.file, ...before });
  const to = range({ ...file, ...header });
  throw fileDamage(file, `non-contiguous transaction ids in input files: ${from} -> ${to}`, {
    field: 'minTxid',
    offset: 16,
    expected: `a file that continues ${formatTxid(before.maxTxid)}`,
    found: to,
  });
}

/** Restores one plan into one open file. */
class Applier {
  readonly #options: ApplyOptions;
  readonly #context: SourceContext;
  /** Ends the requests of all other tasks once one has failed. */
  readonly #stop = new AbortController();
  readonly #tasks: number;
  readonly #kernels: (PageKernel | undefined)[] = [];
  readonly #surveys: Survey[] = [];
  readonly #progress = new Map<number, Progress>();
  #owners = new PageOwners(0, 0);
  #pageSize = 0;
  #pageOne: Uint8Array | undefined;
  #cached = 0;

  constructor(options: ApplyOptions) {
    this.#options = options;
    const { parallelism, context } = options;
    const signal = AbortSignal.any([context.signal, this.#stop.signal]);
    this.#context = { ...context, signal };
    this.#tasks = isLocal(context.client) ? Math.min(parallelism, LOCAL_TASKS) : parallelism;
  }

  /** All reads and writes have ended when this does, in an error too. */
  async run(): Promise<number> {
    try {
      return await this.#run();
    } finally {
      for (const kernel of this.#kernels) kernel?.close();
    }
  }

  async #run(): Promise<number> {
    const { output, files } = this.#options;
    await this.#survey();
    const size = this.#owners.commit * this.#pageSize;
    await this.#options.onSize(size);
    // Pages of other files wait, because the first file's writes may cover their places.
    await this.#apply(this.#segments(0, 1));
    await this.#apply(this.#segments(1, files.length));
    await output.truncate('restore:truncate', size);
    if (size > 0) await output.write('restore:write', present(this.#pageOne, 'page 1'), 0);
    return size;
  }

  /** Tasks take items from one list. After an error no further item is started; the first error is thrown. */
  async #forEach<T>(
    items: Iterable<T>,
    task: (item: T, slot: number) => Promise<void>,
  ): Promise<void> {
    const iterator = items[Symbol.iterator]();
    const failures: unknown[] = [];
    const work = async (slot: number): Promise<void> => {
      try {
        for (;;) {
          throwIfAborted(this.#context.signal);
          const step = iterator.next();
          if (step.done === true) return;
          await task(step.value, slot);
        }
      } catch (error) {
        failures.push(error);
        this.#stop.abort();
      }
    };
    await Promise.all(Array.from({ length: this.#tasks }, (_, slot) => work(slot)));
    if (failures.length > 0) throw failures[0];
  }

  #kernel(slot: number): PageKernel {
    return (this.#kernels[slot] ??= new PageKernel());
  }

  /** Headers, page indexes and trailers of all files; the newest file first, because its header tells the final size. */
  async #survey(): Promise<void> {
    const last = this.#options.files.length - 1;
    await this.#surveyOne(last, (header) => this.#start(header));
    await this.#forEach(this.#options.files.slice(0, last).keys(), async (number) => {
      await this.#surveyOne(number);
    });
    checkHeaders(this.#surveys);
    this.#owners.checkComplete(this.#pageSize);
  }

  #start({ commit, pageSize }: LtxHeader): void {
    const { files } = this.#options;
    const most = Math.floor(files.reduce((sum, file) => sum + file.size, 0) / PAGE_COST_MIN);
    if (commit > most) {
      throw fileDamage(
        present(files.at(-1), 'newest file'),
        'commit size exceeds what the planned files can hold',
        {
          field: 'commit',
          offset: 12,
          expected: `at most ${most} pages`,
          found: commit,
        },
      );
    }
    this.#pageSize = pageSize;
    this.#owners = new PageOwners(commit, files.length);
  }

  async #surveyOne(number: number, onHeader?: (header: LtxHeader) => void): Promise<void> {
    const { files, onBytes } = this.#options;
    const file = present(files[number], 'planned file');
    const survey = await surveyFile(
      {
        context: this.#context,
        kernel: this.#kernel(0),
        onPage: (pgno) => this.#owners.add(number, pgno),
        onHeader,
      },
      file,
    );
    const size = survey.bytes?.length ?? 0;
    const keep = this.#cached + size <= CACHE_BYTES;
    if (keep) this.#cached += size;
    this.#surveys[number] = keep ? survey : { ...survey, bytes: undefined };
    onBytes(file.size - survey.runs.reduce((sum, run) => sum + run.bytes, 0));
  }

  *#segments(fromFile: number, toFile: number): Generator<Segment, void, undefined> {
    const limit = isLocal(this.#options.context.client)
      ? LOCAL_SEGMENT_BYTES
      : REMOTE_SEGMENT_BYTES;
    for (let number = fromFile; number < toFile; number += 1) {
      const { runs } = present(this.#surveys[number], 'survey');
      this.#progress.set(number, {
        states: [],
        hashed: new Float64Array(runs.length),
        left: runs.length,
      });
      if (runs.length === 0) this.#finish(number);
      let from = 0;
      let bytes = 0;
      for (const [at, run] of runs.entries()) {
        if (bytes > 0 && bytes + run.bytes > limit) {
          yield { number, from, to: at };
          from = at;
          bytes = 0;
        }
        bytes += run.bytes;
      }
      if (from < runs.length) yield { number, from, to: runs.length };
    }
  }

  async #apply(segments: Iterable<Segment>): Promise<void> {
    await this.#forEach(segments, async (segment, slot) => {
      const { file } = present(this.#surveys[segment.number], 'survey');
      try {
        await this.#applySegment(segment, slot);
      } catch (error) {
        throw await diagnose(this.#context, file, nameFile(file, error));
      }
    });
  }

  async #applySegment(segment: Segment, slot: number): Promise<void> {
    const { onBytes } = this.#options;
    const survey = present(this.#surveys[segment.number], 'survey');
    const runs = survey.runs.slice(segment.from, segment.to);
    const kernel = this.#kernel(slot);
    const reader = this.#openRuns(survey, runs);
    try {
      for (const [at, run] of runs.entries()) {
        await reader.fill(kernel.input(run.bytes));
        const decoded = kernel.decode(run.bytes, this.#pageSize, run.offset);
        this.#check(survey, run, decoded);
        await this.#writePages(segment.number, kernel, decoded.pages);
        this.#done(segment.number, segment.from + at, decoded);
        onBytes(run.bytes);
      }
    } finally {
      await reader.close();
    }
  }

  #openRuns(survey: Survey, runs: readonly Run[]): RangeReader {
    const first = present(runs[0], 'run');
    const { bytes } = survey;
    if (bytes !== undefined) {
      let at = first.offset;
      return {
        fill: (target) => {
          target.set(bytes.subarray(at, at + target.length));
          at += target.length;
          return Promise.resolve();
        },
        close: () => Promise.resolve(),
      };
    }
    const size = runs.reduce((sum, run) => sum + run.bytes, 0);
    return openRange(this.#context, survey.file, first.offset, size);
  }

  /** What was decoded must be what the index promised, because the index has decided which pages are written. */
  #check(survey: Survey, run: Run, decoded: DecodedRun): void {
    if (decoded.pages === run.pages && decoded.fold === run.fold) return;
    throw fileDamage(survey.file, 'page index disagrees with the page frames', {
      field: 'page frames',
      offset: run.offset,
      expected: `${run.pages} frames as in the page index`,
      found: `${decoded.pages} others`,
    });
  }

  /** Writes the newest pages of a run, joined to long writes. Page 1 is kept for the end. */
  async #writePages(number: number, kernel: PageKernel, pages: number): Promise<void> {
    const bridge = number === 0 ? BRIDGE_PAGES : 0;
    let start = -1;
    let last = -1;
    for (let page = 0; page < pages; page += 1) {
      const pgno = kernel.pgnoAt(page);
      if (!this.#owners.isNewest(number, pgno)) continue;
      if (pgno === 1) {
        this.#pageOne = kernel.pages(page, page + 1).slice();
        continue;
      }
      // Page numbers that continue leave no page of the database out between the two, not even the lock page.
      const joined =
        start >= 0 && page - last - 1 <= bridge && pgno - kernel.pgnoAt(last) === page - last;
      if (!joined) {
        if (start >= 0) await this.#write(kernel, start, last + 1);
        start = page;
      }
      last = page;
    }
    if (start >= 0) await this.#write(kernel, start, last + 1);
  }

  async #write(kernel: PageKernel, from: number, to: number): Promise<void> {
    const { output } = this.#options;
    const step = Math.max(1, Math.floor(WRITE_BYTES / this.#pageSize));
    const first = kernel.pgnoAt(from) - from - 1;
    for (let page = from; page < to; page += step) {
      const bytes = kernel.pages(page, Math.min(page + step, to));
      await output.write('restore:write', bytes, (first + page) * this.#pageSize);
    }
  }

  #done(number: number, run: number, decoded: DecodedRun): void {
    const progress = present(this.#progress.get(number), 'progress of a file');
    progress.states[run] = decoded.state;
    progress.hashed[run] = decoded.hashed;
    progress.left -= 1;
    if (progress.left === 0) this.#finish(number);
  }

  /** All pages of a file are decoded: its checksum decides. */
  #finish(number: number): void {
    const survey = present(this.#surveys[number], 'survey');
    const { states, hashed } = present(this.#progress.get(number), 'progress of a file');
    const kernel = this.#kernel(0);
    let state = survey.headState;
    for (const [run, part] of states.entries())
      state = kernel.combine(state, part, hashed[run] ?? 0);
    state = kernel.combine(state, survey.tailState, survey.tailBytes);
    this.#progress.delete(number);
    if (isChecksum(state, survey.checksum)) return;
    throw fileDamage(survey.file, 'file checksum mismatch', {
      field: 'file checksum',
      offset: survey.file.size - 8,
      expected: 'the checksum of the decoded file',
      found: formatTxid(survey.checksum),
    });
  }
}

/**
 * Restores the files of a plan into an empty file: the newest version of each page at its place, the lock page as zeros, page 1
 * last. Every file's checksum is verified. Nothing is synced. Memory: 2 bytes per page, up to 16 MiB of small files, and
 * about 2.5 MiB per task.
 *
 * Spec: replication 23.4, performance 8.
 *
 * @returns size of the database in bytes
 * @throws LitestreamError `ERR_LTX_CORRUPTED`, `ERR_LTX_HEADER` naming the file, storage errors, `ERR_IO`, `ERR_DISK_FULL`,
 *   `ERR_ABORTED`. The output then holds anything.
 */
export async function applyFiles(options: ApplyOptions): Promise<number> {
  if (options.files.length === 0) {
    throw new LitestreamError('ERR_ASSERTION', 'assertion failed: the plan has files');
  }
  return await new Applier(options).run();
}
