/**
 * Damaged input for every decoder: the outcome is a result or a typed error, quickly, and without memory on the word of the
 * input.
 *
 * `FUZZ_ITERATIONS` (default 1,000,000; divided among the decoders) and `SEED` or `LITESTREAM_TEST_SEED`.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test, type TestContext } from 'node:test';
import {
  decodeHeader,
  decodeLtxFile,
  decodePageFrame,
  decodePageIndex,
  encodeLtxFile,
  locatePageIndex,
  LtxDecoder,
  matchFileName,
  parseFileName,
  parsePos,
  verifyLtxFile,
  type LtxFile,
} from '../../src/formats/ltx/index.ts';
import {
  buildWal,
  createFrameScan,
  parseDatabaseHeader,
  parseWalFrame,
  parseWalHeader,
  scanFrames,
} from '../../src/formats/sqlite/index.ts';
import { lz4Bound, lz4Compress, lz4Decompress } from '../../src/kernels/index.ts';
import { isLitestreamError } from '../../src/lib/errors.ts';

const ITERATIONS = Number(process.env['FUZZ_ITERATIONS'] ?? 1_000_000);
const SEED = Number(
  process.env['SEED'] ?? process.env['LITESTREAM_TEST_SEED'] ?? Date.now() % 1_000_000_000,
);
/** Mean time per input above which something is quadratic or worse; the usual mean is a fiftieth. */
const SLOWEST_MEAN_MS = 5;

/** Small, fast, reproducible random numbers (mulberry32). */
class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** 0 … limit−1. */
  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let word = this.#state;
    word = Math.imul(word ^ (word >>> 15), word | 1);
    word ^= word + Math.imul(word ^ (word >>> 7), word | 61);
    return Math.floor((((word ^ (word >>> 14)) >>> 0) / 2 ** 32) * limit);
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }
}

const INTERESTING = [0, 1, 2, 0x0f, 0x10, 0x7f, 0x80, 0xf0, 0xfe, 0xff];

/** One change of `bytes`: bits, bytes, runs, 32-bit numbers, cuts, insertions, repetitions. */
function mutateOnce(bytes: Uint8Array, random: Random): Uint8Array {
  const size = bytes.length;
  const at = random.below(size + 1);
  switch (random.below(8)) {
    case 0:
      return bytes.slice(0, at);
    case 1: {
      const extra = Uint8Array.from({ length: random.below(12) }, () => random.below(256));
      return Uint8Array.of(...bytes.subarray(0, at), ...extra, ...bytes.subarray(at));
    }
    case 2: {
      const end = Math.min(size, at + random.below(20));
      return Uint8Array.of(...bytes.subarray(0, at), ...bytes.subarray(end));
    }
    case 3: {
      const from = random.below(size + 1);
      return bytes.slice().copyWithin(at, from, from + random.below(40));
    }
    case 4:
      return bytes.slice().fill(random.pick(INTERESTING), at, at + random.below(16));
    case 5: {
      const changed = bytes.slice();
      changed[at] = random.below(256);
      return changed;
    }
    default: {
      const changed = bytes.slice();
      changed[at] = (changed[at] ?? 0) ^ (1 << random.below(8));
      return changed;
    }
  }
}

function mutate(bytes: Uint8Array, random: Random): Uint8Array {
  let changed = bytes;
  for (let count = 1 + random.below(3); count > 0; count--) changed = mutateOnce(changed, random);
  return changed;
}

function corpus(): Uint8Array[] {
  const folder = join(import.meta.dirname, '../vectors/ltx');
  const files = readdirSync(folder).filter((name) => name.endsWith('.ltx'));
  return files.map((name) => new Uint8Array(readFileSync(join(folder, name)))).filter(small);
}

/** Small inputs keep a million of them affordable. */
function small(bytes: Uint8Array): boolean {
  return bytes.length < 2000;
}

interface Target {
  readonly name: string;
  /** Part of all iterations. */
  readonly share: number;
  readonly inputs: readonly Uint8Array[];
  /** False if the input was refused by a result; an error refuses it too. */
  readonly run: (input: Uint8Array, random: Random) => boolean;
}

const FILES = corpus();
const WHOLE: readonly LtxFile[] = FILES.map((bytes) => decodeLtxFile(bytes));

/** A file that passes although it was changed must have the content of one of the originals, or of a re-made one. */
function checkStream(input: Uint8Array, random: Random): boolean {
  const decoder = new LtxDecoder({ keepIndex: true });
  const step = 1 + random.below(input.length + 1);
  for (let at = 0; at < input.length; at += step) decoder.write(input.subarray(at, at + step));
  const { trailer } = decoder.end();
  const file = decodeLtxFile(input);
  const original = WHOLE.find((whole) => whole.trailer.fileChecksum === trailer.fileChecksum);
  assert.ok(original !== undefined, 'a changed file passed with a new checksum');
  assert.deepEqual(file.header, original.header);
  assert.deepEqual(file.pages, original.pages);
  return true;
}

/** Frame of the first page of each file, and a run of small ones of both kinds. */
function frameCorpus(): Uint8Array[] {
  return FILES.flatMap((bytes) => {
    const { index } = verifyLtxFile(bytes, { keepIndex: true });
    if (index === undefined || index.length === 0) return [];
    return [bytes.slice(100, 100 + index.sizeAt(0))];
  });
}

function indexCorpus(): Uint8Array[] {
  return FILES.map((bytes) => {
    const { offset, length } = locatePageIndex(bytes.subarray(-24), bytes.length);
    // The offset travels in the first four bytes.
    const input = new Uint8Array(4 + length);
    new DataView(input.buffer).setUint32(0, offset);
    input.set(bytes.subarray(offset, offset + length), 4);
    return input;
  });
}

function blockCorpus(): Uint8Array[] {
  const sources = [
    new Uint8Array(512),
    Uint8Array.from({ length: 512 }, (_, at) => at % 256),
    Uint8Array.from({ length: 512 }, (_, at) => (at * at * 31) >>> 3),
    new TextEncoder().encode('the quick brown fox '.repeat(26)).slice(0, 512),
  ];
  return sources.map((source) => {
    const target = new Uint8Array(lz4Bound(source.length));
    return target.slice(0, lz4Compress(source, target));
  });
}

function walCorpus(): Uint8Array[] {
  return [false, true].map((bigEndian) => {
    const fields = { bigEndian, pageSize: 512, sequence: 1, salt1: 7, salt2: 0xffffffff };
    return buildWal(fields, [
      { pgno: 1, data: new Uint8Array(512) },
      { pgno: 2, commit: 2, data: new Uint8Array(512).fill(9) },
      { pgno: 3, data: new Uint8Array(512).fill(200) },
    ]);
  });
}

const page = new Uint8Array(512);
const scan = createFrameScan(8);
const words = new Int32Array(1024);
const memory = new Uint8Array(words.buffer);

function runWal(input: Uint8Array): boolean {
  const result = parseWalHeader(input);
  if (input.length >= 24) parseWalFrame(input);
  if (result.kind !== 'ok') return false;
  const { header } = result;
  Object.assign(scan, { salt1: header.salt1, salt2: header.salt2, bigEndian: header.bigEndian });
  scan.pageSize = header.pageSize;
  scan.pair[0] = header.checksum1;
  scan.pair[1] = header.checksum2;
  const frames = input.subarray(32, 32 + memory.length);
  memory.set(frames);
  const count = scanFrames(words, frames.length, scan);
  assert.ok(count <= 3 && scan.lastCommit < count);
  return count === 3;
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1');
}

const TARGETS: readonly Target[] = [
  { name: 'ltx stream', share: 0.35, inputs: FILES, run: checkStream },
  {
    name: 'ltx header',
    share: 0.1,
    inputs: FILES.map((bytes) => bytes.slice(0, 100)),
    run: (input) => {
      decodeHeader(input);
      return true;
    },
  },
  {
    name: 'page index',
    share: 0.1,
    inputs: indexCorpus(),
    run: (input) => {
      if (input.length < 4) return false;
      const offset = new DataView(input.buffer, input.byteOffset).getUint32(0);
      const index = decodePageIndex(input.subarray(4), offset);
      assert.ok(index.length <= input.length / 3);
      return true;
    },
  },
  {
    name: 'page index location',
    share: 0.05,
    inputs: FILES.map((bytes) => bytes.slice(-40)),
    run: (input, random) => {
      const size = input.length + random.below(3000);
      const { offset, length } = locatePageIndex(input, size);
      assert.ok(offset >= 106 && offset + length + 16 === size);
      return true;
    },
  },
  {
    name: 'page frame, block and lz4 frame',
    share: 0.15,
    inputs: frameCorpus(),
    run: (input) => {
      decodePageFrame(input, 1, page);
      return true;
    },
  },
  {
    name: 'lz4 block',
    share: 0.1,
    inputs: blockCorpus(),
    run: (input) => {
      lz4Decompress(input, page);
      return true;
    },
  },
  { name: 'wal header and frames', share: 0.1, inputs: walCorpus(), run: runWal },
  {
    name: 'names and positions',
    share: 0.03,
    inputs: ['0000000000000001-00000000000000ff.ltx', '0000000000000abc/ad2dffe333333333'].map(
      (name) => new TextEncoder().encode(name),
    ),
    run: (input) => {
      const name = text(input);
      matchFileName(name);
      if (name.includes('/')) parsePos(name);
      else parseFileName(name);
      return true;
    },
  },
  {
    name: 'database header',
    share: 0.02,
    inputs: [new TextEncoder().encode(`SQLite format 3\0${'\x10\x00\x01\x01'.repeat(21)}`)],
    run: (input) => parseDatabaseHeader(input) !== undefined,
  },
];

/** Runs one target; returns how many inputs were refused. */
function fuzz(target: Target, iterations: number, seed: number): number {
  let refused = 0;
  for (let iteration = 0; iteration < iterations; iteration++) {
    // A generator per input: any single one can be repeated.
    const random = new Random(Math.imul(seed, 0x9e3779b1) ^ Math.imul(iteration, 0x85ebca77));
    const input = mutate(random.pick(target.inputs), random);
    try {
      if (!target.run(input, random)) refused++;
    } catch (error) {
      if (isLitestreamError(error) && error.code !== 'ERR_ASSERTION') {
        refused++;
        continue;
      }
      const hex = Buffer.from(input.subarray(0, 4000)).toString('hex');
      throw new Error(`SEED=${seed}, ${target.name}, iteration ${iteration}, input ${hex}`, {
        cause: error,
      });
    }
  }
  return refused;
}

describe('I4: damaged input', () => {
  const { stackTraceLimit } = Error;
  before(() => {
    // Nearly every input ends in an error: its stack would take most of the time.
    Error.stackTraceLimit = 0;
  });
  after(() => {
    Error.stackTraceLimit = stackTraceLimit;
  });

  for (const target of TARGETS) {
    test(`${target.name}: a result or a typed error`, (t: TestContext) => {
      const iterations = Math.ceil(ITERATIONS * target.share);
      const memoryBefore = process.memoryUsage().arrayBuffers;
      const start = process.cpuUsage();
      const refused = fuzz(target, iterations, SEED);
      const { system, user } = process.cpuUsage(start);
      const mean = (user + system) / 1000 / iterations;
      const grown = process.memoryUsage().arrayBuffers - memoryBefore;
      t.diagnostic(`SEED=${SEED}: ${refused} of ${iterations} refused, ${mean.toFixed(4)} ms each`);
      assert.ok(mean < SLOWEST_MEAN_MS, `SEED=${SEED}: ${mean} ms per input`);
      assert.ok(grown < 512 * 1024 * 1024, `SEED=${SEED}: ${grown} bytes kept`);
      assert.ok(refused > 0, `SEED=${SEED}: nothing was refused`);
    });
  }

  test('the files of the corpus pass unchanged, also re-encoded', () => {
    for (const { header, pages, trailer } of WHOLE) {
      const { postApplyChecksum } = trailer;
      const again = encodeLtxFile({ header, pages, postApplyChecksum });
      assert.deepEqual(decodeLtxFile(again).pages, pages);
    }
  });
});
