import { type HeapProfiler, type Profiler, Session } from 'node:inspector/promises';
import { type Clock, sleep } from '../../lib/clock.ts';
import { encodePprof, type ProfileFrame, type ProfileSample } from './pprof.ts';

const HEAP_INTERVAL_BYTES = 512 * 1024;
const CPU_INTERVAL_US = 1000;

/** Takes V8 profiles of this process. One at a time. */
export class ProcessProfiler {
  readonly #clock: Clock;
  #busy = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Where the time goes, over so many seconds. Undefined if another one is being taken. */
  cpu(seconds: number, signal?: AbortSignal): Promise<Uint8Array | undefined> {
    return this.#exclusively(async (session) => {
      await session.post('Profiler.enable');
      await session.post('Profiler.setSamplingInterval', { interval: CPU_INTERVAL_US });
      await session.post('Profiler.start');
      const startedAt = this.#clock.now();
      await sleep(this.#clock, seconds * 1000, signal);
      const { profile } = await session.post('Profiler.stop');
      return encodePprof({
        types: [
          { type: 'samples', unit: 'count' },
          { type: 'cpu', unit: 'nanoseconds' },
        ],
        samples: cpuSamples(profile),
        timeNs: BigInt(startedAt) * 1_000_000n,
        durationNs: BigInt(Math.round((profile.endTime - profile.startTime) * 1000)),
        periodType: { type: 'cpu', unit: 'nanoseconds' },
        period: CPU_INTERVAL_US * 1000,
      });
    });
  }

  /** What was allocated and is still held, over so many seconds. Undefined if another one is being taken. */
  heap(seconds: number, signal?: AbortSignal): Promise<Uint8Array | undefined> {
    return this.#exclusively(async (session) => {
      const samplingInterval = HEAP_INTERVAL_BYTES;
      await session.post('HeapProfiler.startSampling', { samplingInterval });
      const startedAt = this.#clock.now();
      await sleep(this.#clock, seconds * 1000, signal);
      const { profile } = await session.post('HeapProfiler.stopSampling');
      return encodePprof({
        types: [
          { type: 'inuse_objects', unit: 'count' },
          { type: 'inuse_space', unit: 'bytes' },
        ],
        samples: heapSamples(profile),
        timeNs: BigInt(startedAt) * 1_000_000n,
        durationNs: BigInt(Math.round(seconds * 1e9)),
        periodType: { type: 'space', unit: 'bytes' },
        period: HEAP_INTERVAL_BYTES,
      });
    });
  }

  async #exclusively(
    body: (session: Session) => Promise<Uint8Array>,
  ): Promise<Uint8Array | undefined> {
    if (this.#busy) return undefined;
    this.#busy = true;
    const session = new Session();
    try {
      session.connect();
      return await body(session);
    } finally {
      session.disconnect();
      this.#busy = false;
    }
  }
}

interface CallFrame {
  readonly functionName: string;
  readonly url: string;
  readonly lineNumber: number;
}

function frameOf({ functionName, lineNumber, url }: CallFrame): ProfileFrame {
  return { name: functionName || '(anonymous)', file: url, line: lineNumber + 1 };
}

function cpuSamples({ nodes, samples = [], timeDeltas = [] }: Profiler.Profile): ProfileSample[] {
  const parents = new Map<number, number>();
  const frames = new Map<number, ProfileFrame>();
  for (const { callFrame, children = [], id } of nodes) {
    frames.set(id, frameOf(callFrame));
    for (const child of children) parents.set(child, id);
  }
  const totals = new Map<number, { count: number; ns: number }>();
  for (const [at, id] of samples.entries()) {
    const total = totals.get(id) ?? { count: 0, ns: 0 };
    total.count++;
    total.ns += (timeDeltas[at] ?? 0) * 1000;
    totals.set(id, total);
  }
  return Array.from(totals, ([id, { count, ns }]) => {
    const stack: ProfileFrame[] = [];
    for (let at: number | undefined = id; at !== undefined; at = parents.get(at)) {
      const frame = frames.get(at);
      // The root stands for nothing.
      if (frame !== undefined && parents.has(at)) stack.push(frame);
    }
    return { stack, values: [count, ns] };
  });
}

function heapSamples({ head }: HeapProfiler.SamplingHeapProfile): ProfileSample[] {
  const samples: ProfileSample[] = [];
  const visit = (
    node: HeapProfiler.SamplingHeapProfileNode,
    stack: readonly ProfileFrame[],
  ): void => {
    const own = [frameOf(node.callFrame), ...stack];
    if (node.selfSize > 0) {
      const count = Math.max(1, Math.round(node.selfSize / HEAP_INTERVAL_BYTES));
      samples.push({ stack: own, values: [count, node.selfSize] });
    }
    for (const child of node.children) visit(child, own);
  };
  for (const child of head.children) visit(child, []);
  return samples;
}
