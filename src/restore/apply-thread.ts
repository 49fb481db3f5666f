import { closeSync, openSync, readSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { present } from '../lib/assert.ts';
import { errorMessage, LitestreamError } from '../lib/errors.ts';
import { osError } from '../lib/os-error.ts';
import { PageKernel, RUN_PAGE_BYTES } from './page-kernel.ts';
import { PageOutput } from './page-output.ts';
import { PageOwners } from './page-owners.ts';
import { checkRun, type Run } from './run.ts';
import {
  CONTROL_NEXT,
  CONTROL_STOP,
  RUN_FIELDS,
  type ThreadJob,
  type ThreadReply,
  type ThreadRequest,
} from './thread-protocol.ts';
import { writeSpans } from './write-spans.ts';

/** Worker side of `ApplyThreads`: reads, decodes and writes runs with synchronous calls. */
class Worker {
  readonly #job: ThreadJob;
  readonly #kernel = new PageKernel();
  readonly #owners: PageOwners;
  readonly #output: PageOutput;
  readonly #control: Int32Array;
  readonly #runs: Float64Array;
  readonly #states: BigUint64Array;
  readonly #hashed: Float64Array;
  #file = -1;
  #descriptor = -1;

  constructor(job: ThreadJob) {
    this.#job = job;
    this.#owners = new PageOwners(job.owners);
    this.#output = new PageOutput(job.output, job.direct, job.outputPath);
    this.#control = new Int32Array(job.control);
    this.#runs = new Float64Array(job.runs);
    this.#states = new BigUint64Array(job.states);
    this.#hashed = new Float64Array(job.hashed);
  }

  run(to: number): ThreadReply {
    let file = 0;
    try {
      while (Atomics.load(this.#control, CONTROL_STOP) === 0) {
        const number = Atomics.add(this.#control, CONTROL_NEXT, 1);
        if (number >= to) break;
        file = this.#runs[number * RUN_FIELDS] ?? 0;
        this.#apply(number, file);
      }
      return { kind: 'done' };
    } catch (error) {
      Atomics.store(this.#control, CONTROL_STOP, 1);
      if (!(error instanceof LitestreamError)) {
        return { kind: 'failed', file, code: 'ERR_IO', message: errorMessage(error), details: {} };
      }
      const { code, message, details } = error;
      return { kind: 'failed', file, code, message, details };
    } finally {
      this.#close();
    }
  }

  #apply(number: number, file: number): void {
    const kernel = this.#kernel;
    const { pageSize, pageOne } = this.#job;
    const run = this.#run(number);
    this.#read(file, run);
    const decoded = kernel.decode(run.bytes, pageSize, run.offset);
    checkRun(run, decoded);
    const pgnoAt = (page: number): number => kernel.pgnoAt(page);
    if (pgnoAt(0) === 1 && this.#owners.isNewest(file, 1)) {
      new Uint8Array(pageOne).set(kernel.pages(0, 1));
    }
    const spans = writeSpans({
      owners: this.#owners,
      pageSize,
      file,
      pages: decoded.pages,
      pgnoAt,
      bytesMax: RUN_PAGE_BYTES,
    });
    for (const { from, to, position } of spans) {
      this.#output.write(kernel.pages(from, to), position);
    }
    this.#states[number] = decoded.state;
    this.#hashed[number] = decoded.hashed;
  }

  #run(number: number): Run {
    const at = number * RUN_FIELDS;
    const field = (index: number): number => present(this.#runs[at + index], 'run');
    return { offset: field(1), bytes: field(2), pages: field(3), fold: field(4) };
  }

  #read(file: number, run: Run): void {
    const path = present(this.#job.paths[file], 'path of a planned file');
    const target = this.#kernel.input(run.bytes);
    let done = 0;
    try {
      if (file !== this.#file) {
        this.#close();
        this.#descriptor = openSync(path, 'r');
        this.#file = file;
      }
      while (done < run.bytes) {
        const count = readSync(this.#descriptor, target, done, run.bytes - done, run.offset + done);
        if (count === 0) break;
        done += count;
      }
    } catch (error) {
      throw osError('read', path, error);
    }
    if (done === run.bytes) return;
    const offset = run.offset + done;
    const details = {
      field: 'file',
      offset,
      expected: `${run.bytes - done} more bytes`,
      found: 'end of file',
    };
    throw new LitestreamError('ERR_LTX_CORRUPTED', `unexpected EOF (file at byte ${offset})`, {
      details,
    });
  }

  #close(): void {
    if (this.#descriptor >= 0) closeSync(this.#descriptor);
    this.#descriptor = -1;
    this.#file = -1;
  }
}

let worker: Worker | undefined;

parentPort?.on('message', (request: ThreadRequest) => {
  if (request.kind === 'job') worker = new Worker(request);
  else parentPort?.postMessage(present(worker, 'job of the thread').run(request.to));
});
