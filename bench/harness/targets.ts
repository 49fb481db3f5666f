/** What a ratio is held against. Spec: performance 16. */
export interface Target {
  readonly name: string;
  /** What was measured beside it, in the same run. */
  readonly limit: string;
  readonly better: 'lower' | 'higher';
  /** Of what is no ratio. */
  readonly unit?: 'MB' | 'ms';
  /** The goal. */
  readonly hard: number;
  /** What a noisy machine must not miss. */
  readonly gate: number;
}

const lower = (name: string, limit: string, hard: number, gate: number): Target => ({
  name,
  limit,
  better: 'lower',
  hard,
  gate,
});
const higher = (name: string, limit: string, hard: number, gate: number): Target => ({
  name,
  limit,
  better: 'higher',
  hard,
  gate,
});

export type TargetId = (typeof IDS)[number];

const IDS = [
  'P1',
  'P2',
  'P3',
  'P4',
  'P5',
  'P6',
  'P7',
  'P8',
  'P9',
  'P10',
  'P11',
  'P12',
  'P13',
  'P14',
  'P15',
  'P16',
  'P17',
  'P18',
  'P19',
  'P20',
  'P21',
  'P22',
  'P23',
] as const;

/**
 * The measures by number. Processor time stands in for time where a busy machine would decide the outcome; the bounds of P12, P13, P18 and P21
 * are our own: small restores and merges are still being compiled while they run, the anonymous memory holds the compiled sources, and the
 * processor time the compilation on other threads.
 */
export const TARGETS: Readonly<Record<TargetId, Target>> = {
  P1: higher('CRC stream, pages of 4 KiB', 'memcpy in WebAssembly', 0.3, 0.15),
  P2: higher('CRC stream, pages of 4 KiB', 'slicing-by-8', 10, 5),
  P3: higher('CRC stream, pages of 512 B', 'slicing-by-8', 5, 3),
  P4: higher('LZ4 compression, blocks of 4 KiB', 'lz4 -b1', 0.8, 0.6),
  P5: lower('LZ4 compressed size', 'lz4 -b1', 1.01, 1.03),
  P6: higher('LZ4 decompression', 'lz4 -b1', 0.7, 0.5),
  P7: higher('WAL checksum', 'memcpy in WebAssembly', 0.15, 0.08),
  P8: lower('snapshot, one thread: CPU', 'lz4 -1 -B4', 0.95, 1.2),
  P9: lower('snapshot, two threads: time', 'lz4 -1 -B4', 0.6, 0.85),
  P10: lower('restore, one thread: CPU', 'lz4 -d', 0.9, 1.25),
  P11: lower('restore, two threads: time', 'cp and sync', 1.2, 1.75),
  P12: lower('restore, one thread: CPU', 'VACUUM INTO', 0.6, 1.5),
  P13: higher('compaction, pages per CPU', 'own decoder, pages in a file', 0.8, 0.25),
  P14: lower('idle CPU', 'fstat of the same descriptors each second', 3, 5),
  P15: lower('commit to durable local file, p50', 'write, fsync, rename, fsync', 1.5, 3),
  P16: lower('commit to acknowledged PUT, p50', 'limit of P15 and a PUT', 1.8, 3),
  P17: lower('idle memory, one database', 'node, empty script', 1.65, 2),
  P18: lower('idle anonymous memory, one database', 'node, empty script', 2.6, 4),
  P19: lower('memory per further database', 'a node:sqlite connection', 1.3, 2),
  P20: lower('start of version: CPU', 'node, empty script', 1.25, 2.5),
  P21: lower('start to the first open database: CPU', 'node, empty script', 3, 10),
  P22: {
    ...lower('peak memory of a restore, per thread', 'above that of an idle daemon', 64, 128),
    unit: 'MB',
  },
  P23: {
    ...lower('event loop held up, p99: CPU', 'by snapshot, restore, compaction', 25, 100),
    unit: 'ms',
  },
};

/** True if a ratio is as good as a bound. */
export function isWithin({ better }: Target, ratio: number, bound: number): boolean {
  return better === 'lower' ? ratio <= bound : ratio >= bound;
}
