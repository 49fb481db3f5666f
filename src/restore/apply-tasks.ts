import { present } from '../lib/assert.ts';
import { throwIfAborted } from '../lib/clock.ts';
import { closeDirect, openDirect } from '../lib/direct-file.ts';
import type { OpenFile } from '../lib/file-system.ts';
import { nameFile } from './damage.ts';
import { PageKernel, RUN_PAGE_BYTES } from './page-kernel.ts';
import { AsyncPageOutput } from './page-output.ts';
import type { PageOwners } from './page-owners.ts';
import { checkRun, type PlannedRun, type RunApplier, type RunState } from './run.ts';
import { openRange, type RangeReader, type SourceContext } from './source.ts';
import { diagnose, type Survey } from './survey.ts';
import { WRITE_BYTES, writeSpans } from './write-spans.ts';

/** Runs that one task applies one after the other: enough to make a request's latency small beside its transfer. */
const SEGMENT_BYTES = 8 << 20;

/** Of one task: handing single pages to other threads one by one costs more than writing them. */
const WRITES = 8;

export interface TasksOptions {
  readonly context: SourceContext;
  readonly surveys: readonly Survey[];
  /** Runs of all files in plan order. */
  readonly runs: readonly PlannedRun[];
  readonly owners: PageOwners;
  readonly pageSize: number;
  readonly output: OpenFile;
  readonly outputPath: string;
  /** Bytes of the whole database. */
  readonly size: number;
  /** True if the output is large and nobody reads it soon: it need not be in the page cache. */
  readonly direct: boolean;
  /** Tasks at the same time. */
  readonly tasks: number;
  readonly onBytes: (bytes: number) => void;
}

/** Runs of one file, side by side in it. */
interface Segment {
  readonly from: number;
  readonly to: number;
}

/** Runs `limit` tasks that take items from one list. After an error no further item is started; the first error is thrown. */
export async function forEachLimited<T>(
  items: Iterable<T>,
  limit: number,
  task: (item: T, slot: number, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const iterator = items[Symbol.iterator]();
  const failures: unknown[] = [];
  // Ends the requests of all other tasks once one has failed.
  const stop = new AbortController();
  const work = async (slot: number): Promise<void> => {
    try {
      while (!stop.signal.aborted) {
        const step = iterator.next();
        if (step.done === true) return;
        await task(step.value, slot, stop.signal);
      }
    } catch (error) {
      failures.push(error);
      stop.abort();
    }
  };
  await Promise.all(Array.from({ length: limit }, (_, slot) => work(slot)));
  if (failures.length > 0) throw failures[0];
}

/** Applies runs on this thread, several requests and writes at the same time. */
export class ApplyTasks implements RunApplier {
  readonly #options: TasksOptions;
  readonly #kernels: PageKernel[] = [];
  readonly #states: BigUint64Array;
  readonly #hashed: Float64Array;
  readonly pageOne: Uint8Array;
  readonly #direct: number;
  readonly #output: AsyncPageOutput;

  constructor(options: TasksOptions) {
    this.#options = options;
    const { direct, output, outputPath } = options;
    this.#direct = direct ? openDirect(output.fd) : -1;
    this.#output = new AsyncPageOutput(output, this.#direct, outputPath);
    this.#states = new BigUint64Array(options.runs.length);
    this.#hashed = new Float64Array(options.runs.length);
    this.pageOne = new Uint8Array(options.pageSize);
  }

  state(run: number): RunState {
    return { state: this.#states[run] ?? 0n, hashed: this.#hashed[run] ?? 0 };
  }

  async apply(from: number, to: number): Promise<void> {
    const { context, output, size, tasks } = this.#options;
    // Writing behind the end makes the file system wait for each write's new size.
    if (this.#direct >= 0) await output.truncate('restore:size', size);
    const segments = [...this.#segments(from, to)];
    // Each task has megabytes of memory, and files that are in memory wait for no request: one task does for all of them.
    const requests = segments.filter((each) => this.#survey(each).bytes === undefined).length;
    const limit = Math.min(tasks, requests + 1);
    await forEachLimited(segments, limit, async (segment, slot, stop) => {
      throwIfAborted(context.signal);
      const signal = AbortSignal.any([context.signal, stop]);
      const survey = this.#survey(segment);
      try {
        await this.#applySegment({ ...context, signal }, survey, segment, slot);
      } catch (error) {
        throw await diagnose(context, survey.file, nameFile(survey.file, error));
      }
    });
  }

  close(): Promise<void> {
    for (const kernel of this.#kernels) kernel.close();
    closeDirect(this.#direct);
    return Promise.resolve();
  }

  #run(number: number): PlannedRun {
    return present(this.#options.runs[number], 'run');
  }

  #survey(segment: Segment): Survey {
    return present(this.#options.surveys[this.#run(segment.from).file], 'survey');
  }

  *#segments(from: number, to: number): Generator<Segment, void, undefined> {
    let start = from;
    let bytes = 0;
    for (let number = from; number < to; number += 1) {
      const run = this.#run(number);
      const fits = bytes + run.bytes <= SEGMENT_BYTES && run.file === this.#run(start).file;
      if (number > start && !fits) {
        yield { from: start, to: number };
        start = number;
        bytes = 0;
      }
      bytes += run.bytes;
    }
    if (start < to) yield { from: start, to };
  }

  async #applySegment(
    context: SourceContext,
    survey: Survey,
    segment: Segment,
    slot: number,
  ): Promise<void> {
    const kernel = (this.#kernels[slot] ??= new PageKernel());
    const runs = this.#options.runs.slice(segment.from, segment.to);
    const reader = openRuns(context, survey, runs);
    try {
      for (const [at, run] of runs.entries()) {
        throwIfAborted(context.signal);
        await reader.fill(kernel.input(run.bytes));
        const decoded = kernel.decode(run.bytes, this.#options.pageSize, run.offset);
        checkRun(run, decoded);
        await this.#writePages(run.file, kernel, decoded.pages);
        this.#states[segment.from + at] = decoded.state;
        this.#hashed[segment.from + at] = decoded.hashed;
        this.#options.onBytes(run.bytes);
      }
    } finally {
      await reader.close();
    }
  }

  async #writePages(file: number, kernel: PageKernel, pages: number): Promise<void> {
    const { owners, pageSize } = this.#options;
    const bytesMax = this.#direct >= 0 ? RUN_PAGE_BYTES : WRITE_BYTES;
    const pgnoAt = (page: number): number => kernel.pgnoAt(page);
    if (pgnoAt(0) === 1 && owners.isNewest(file, 1)) this.pageOne.set(kernel.pages(0, 1));
    const spans = writeSpans({ owners, pageSize, file, pages, pgnoAt, bytesMax });
    for (let at = 0; at < spans.length; at += WRITES) {
      const writes = spans
        .slice(at, at + WRITES)
        .map(({ from, to, position }) => this.#output.write(kernel.pages(from, to), position));
      // All of them have to end before the pages' memory may be used again.
      const results = await Promise.allSettled(writes);
      for (const result of results) if (result.status === 'rejected') throw result.reason;
    }
  }
}

/** Reader of neighbouring runs of one file, from memory if the survey has kept the file. */
function openRuns(
  context: SourceContext,
  { file, bytes }: Survey,
  runs: readonly PlannedRun[],
): RangeReader {
  let at = present(runs[0], 'run').offset;
  if (bytes === undefined) {
    const size = runs.reduce((sum, run) => sum + run.bytes, 0);
    return openRange(context, file, at, size);
  }
  return {
    fill: (target) => {
      target.set(bytes.subarray(at, at + target.length));
      at += target.length;
      return Promise.resolve();
    },
    close: () => Promise.resolve(),
  };
}
