import { availableParallelism } from 'node:os';
import { formatTxid, type LtxHeader } from '../formats/ltx/index.ts';
import { present } from '../lib/assert.ts';
import { throwIfAborted } from '../lib/clock.ts';
import { LitestreamError } from '../lib/errors.ts';
import type { OpenFile } from '../lib/file-system.ts';
import type { FileInfo } from '../storage/index.ts';
import { ApplyTasks, forEachLimited } from './apply-tasks.ts';
import type { ApplyThreads } from './apply-threads.ts';
import { fileDamage, nameFile } from './damage.ts';
import { checkHeaders } from './headers.ts';
import { PageKernel } from './page-kernel.ts';
import { PageOwners } from './page-owners.ts';
import type { PlannedRun, RunApplier } from './run.ts';
import type { SourceContext } from './source.ts';
import { diagnose, isChecksum, type Survey, surveyFile } from './survey.ts';

/** Small files kept from the survey, so that each is read once. */
const CACHE_BYTES = 16 << 20;
/** A page costs at least so many bytes of its file: its frame and its entry in the page index. */
const PAGE_COST_MIN = 10;
/** Local files are read in parallel only to keep disk and processor busy at the same time. */
const LOCAL_TASKS = 3;
/** Bytes of the database header: 1 = rollback journal, 2 = WAL. Spec: formats 6.1. */
const WRITE_VERSION = 18;
const READ_VERSION = 19;
/** Below, threads take longer to start than to help, and the page cache is no burden. */
const THREADS_BYTES_MIN = 16 << 20;
const THREADS_MAX = 4;

export interface ApplyOptions {
  readonly context: SourceContext;
  readonly files: readonly FileInfo[];
  /** Empty, open for writing. */
  readonly output: OpenFile;
  readonly outputPath: string;
  /** Requests at the same time, at least 1. */
  readonly parallelism: number;
  /** True: the header says rollback journal instead of WAL. */
  readonly rollbackMode: boolean;
  /** True if the output is read at once, and had better stay in the page cache. */
  readonly readSoon: boolean;
  /** Called with each file's header before the first byte is written. An error that it throws ends the restore. */
  readonly onHeader?: (file: FileInfo, header: LtxHeader) => void;
  /** Called with the size before the first byte is written. */
  readonly onSize: (bytes: number) => Promise<void>;
  /** Called with the number of file bytes dealt with since the last call. */
  readonly onBytes: (bytes: number) => void;
}

/** Local paths of the planned files, undefined if they are not local. */
function localPaths({ context, files }: ApplyOptions): string[] | undefined {
  const { client } = context;
  if (client.localPath === undefined) return undefined;
  return files.map((file) => present(client.localPath?.(file), 'local path'));
}

/** Threads for a plan of local files that is worth it. */
async function startThreads(
  { files, parallelism }: ApplyOptions,
  paths: readonly string[] | undefined,
): Promise<ApplyThreads | undefined> {
  const bytes = files.reduce((sum, file) => sum + file.size, 0);
  const count = Math.min(availableParallelism(), parallelism, THREADS_MAX);
  if (paths === undefined || bytes < THREADS_BYTES_MIN || count < 2) return undefined;
  const { ApplyThreads: Threads } = await import('./apply-threads.ts');
  return new Threads(count);
}

/** Restores one plan into one open file. */
class Applier {
  readonly #options: ApplyOptions;
  readonly #tasks: number;
  readonly #paths: readonly string[] | undefined;
  #threads: ApplyThreads | undefined;
  readonly #kernel = new PageKernel();
  readonly #surveys: Survey[] = [];
  #owners = PageOwners.create(0, 0);
  #pageSize = 0;
  #cached = 0;

  constructor(options: ApplyOptions) {
    this.#options = options;
    this.#paths = localPaths(options);
    this.#tasks =
      this.#paths === undefined ? options.parallelism : Math.min(options.parallelism, LOCAL_TASKS);
  }

  async run(): Promise<number> {
    try {
      return await this.#run();
    } finally {
      await this.#threads?.close();
      this.#kernel.close();
    }
  }

  async #run(): Promise<number> {
    const { output, onSize } = this.#options;
    this.#threads = await startThreads(this.#options, this.#paths);
    await this.#survey();
    const size = this.#owners.commit * this.#pageSize;
    await onSize(size);
    const runs = this.#surveys.flatMap((survey, file) =>
      survey.runs.map((run): PlannedRun => ({ ...run, file })),
    );
    const applier = await this.#applier(runs, size);
    try {
      // Pages of other files wait, because the first file's writes may cover their places.
      const base = this.#surveys[0]?.runs.length ?? 0;
      await applier.apply(0, base);
      await applier.apply(base, runs.length);
      this.#verify(applier);
      await output.truncate('restore:truncate', size);
      if (size > 0) await output.write('restore:write', this.#firstPage(applier.pageOne), 0);
    } finally {
      await applier.close();
    }
    return size;
  }

  #firstPage(page: Uint8Array): Uint8Array {
    if (!this.#options.rollbackMode) return page;
    return page.slice().fill(1, WRITE_VERSION, READ_VERSION + 1);
  }

  async #applier(runs: readonly PlannedRun[], size: number): Promise<RunApplier> {
    const { context, output, outputPath, onBytes, readSoon } = this.#options;
    const direct = !readSoon && size >= THREADS_BYTES_MIN;
    const pages = { owners: this.#owners, pageSize: this.#pageSize, size };
    const common = { runs, ...pages, output, outputPath, direct, onBytes };
    if (this.#threads === undefined || this.#paths === undefined) {
      return new ApplyTasks({ ...common, context, surveys: this.#surveys, tasks: this.#tasks });
    }
    await this.#threads.start({
      ...common,
      paths: this.#paths,
      clock: context.clock,
      signal: context.signal,
      explain: (number, error) => {
        const file = present(this.#options.files[number], 'planned file');
        return diagnose(context, file, nameFile(file, error));
      },
    });
    return this.#threads;
  }

  /** Headers, page indexes and trailers of all files; the newest file first, because its header tells the final size. */
  async #survey(): Promise<void> {
    const { context, files } = this.#options;
    const last = files.length - 1;
    await this.#surveyOne(last, context, (header) => this.#start(header));
    await forEachLimited(files.slice(0, last).keys(), this.#tasks, async (number, _slot, stop) => {
      throwIfAborted(context.signal);
      const signal = AbortSignal.any([context.signal, stop]);
      await this.#surveyOne(number, { ...context, signal });
    });
    checkHeaders(this.#surveys);
    for (const { file, header } of this.#surveys) this.#options.onHeader?.(file, header);
    this.#owners.checkComplete(this.#pageSize);
  }

  #start({ commit, pageSize }: LtxHeader): void {
    const { files } = this.#options;
    const most = Math.floor(files.reduce((sum, file) => sum + file.size, 0) / PAGE_COST_MIN);
    if (commit > most) {
      const text = 'commit size exceeds what the planned files can hold';
      const expected = `at most ${most} pages`;
      throw fileDamage(present(files.at(-1), 'newest file'), text, {
        field: 'commit',
        offset: 12,
        expected,
        found: commit,
      });
    }
    this.#pageSize = pageSize;
    this.#owners = PageOwners.create(commit, files.length);
  }

  async #surveyOne(
    number: number,
    context: SourceContext,
    onHeader?: (header: LtxHeader) => void,
  ): Promise<void> {
    const { files, onBytes } = this.#options;
    const file = present(files[number], 'planned file');
    const onPage = (pgno: number): void => this.#owners.add(number, pgno);
    const survey = await surveyFile({ context, kernel: this.#kernel, onPage, onHeader }, file);
    const size = survey.bytes?.length ?? 0;
    const keep = this.#threads === undefined && this.#cached + size <= CACHE_BYTES;
    if (keep) this.#cached += size;
    this.#surveys[number] = keep ? survey : { ...survey, bytes: undefined };
    onBytes(file.size - survey.runs.reduce((sum, run) => sum + run.bytes, 0));
  }

  /** All pages are decoded: the files' checksums decide. */
  #verify(applier: RunApplier): void {
    let run = 0;
    for (const survey of this.#surveys) {
      let state = survey.headState;
      for (let left = survey.runs.length; left > 0; left -= 1, run += 1) {
        const part = applier.state(run);
        state = this.#kernel.combine(state, part.state, part.hashed);
      }
      state = this.#kernel.combine(state, survey.tailState, survey.tailBytes);
      if (isChecksum(state, survey.checksum)) continue;
      throw fileDamage(survey.file, 'file checksum mismatch', {
        field: 'file checksum',
        offset: survey.file.size - 8,
        expected: 'the checksum of the decoded file',
        found: formatTxid(survey.checksum),
      });
    }
  }
}

/**
 * Restores the files of a plan into an empty file: the newest version of each page at its place, the lock page as zeros, page 1
 * last. Every file's checksum is verified. Memory: 2 bytes per page, up to 16 MiB of small files, and about 3 MiB per task or
 * 25 MiB per thread. Large plans of local files are applied on up to four threads.
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
