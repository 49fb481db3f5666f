/**
 * The hot kernels against limits measured in the same run: `node bench/kernels.bench.ts [page size]`.
 *
 * Every figure is the best of several rounds in which all variants take turns; the first round is thrown away, because
 * WebAssembly starts unoptimised. Trust the ratios, not the absolute values. Spec: performance 16, P1–P7.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import {
  checksumPair,
  createKernel,
  Crc64,
  newDecodeJob,
  newEncodeJob,
} from '../src/kernels/index.ts';
import type { Kernel } from '../src/kernels/index.ts';
import { present } from '../src/lib/assert.ts';
import { figure, isQuick, least, median } from './harness/figures.ts';

const pageSize = Number(process.argv[2] ?? 4096);
const ROUNDS = 9;
const DATA_BYTES = 8 << 20;

/** A database with text, numbers, JSON and blobs, indexed and partly deleted; compresses by about a third. */
function databaseBytes(): Buffer {
  const folder = mkdtempSync(join(tmpdir(), 'litestream-bench-'));
  const path = join(folder, 'mixed.db');
  const db = new DatabaseSync(path);
  let seed = 1;
  const below = (bound: number): number => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) & 0x7fff_ffff;
    return (seed >>> 8) % bound;
  };
  const words = Array.from({ length: 1500 }, () =>
    Array.from({ length: 2 + below(8) }, () => 'etaoinsrhldcumfpgwybvk'[below(22)]).join(''),
  );
  const prose = (length: number): string =>
    Array.from({ length }, () => words[Math.min(below(1500), below(1500))]).join(' ');
  db.exec(`PRAGMA page_size = ${pageSize}; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
    CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT, email TEXT, score REAL, profile TEXT);
    CREATE TABLE documents (id INTEGER PRIMARY KEY, title TEXT, body TEXT);
    CREATE TABLE blobs (id INTEGER PRIMARY KEY, data BLOB);
    CREATE INDEX users_email ON users (email); BEGIN`);
  const user = db.prepare('INSERT INTO users VALUES (?, ?, ?, ?, ?)');
  const document = db.prepare('INSERT INTO documents VALUES (?, ?, ?)');
  const blob = db.prepare('INSERT INTO blobs VALUES (?, randomblob(?))');
  for (let id = 1; id <= 9000; id++) {
    const name = prose(2);
    const profile = JSON.stringify({
      city: prose(1),
      born: 1940 + below(70),
      tags: [prose(1), id],
    });
    user.run(id, name, `${name.replace(' ', '.')}${id}@example.com`, below(1e6) / 997, profile);
    document.run(id, prose(4), prose(20 + below(100)));
    if (id % 3 === 0) blob.run(id, below(1400));
  }
  db.exec('DELETE FROM users WHERE id % 11 = 0; COMMIT');
  db.close();
  const bytes = readFileSync(path);
  rmSync(folder, { recursive: true });
  return bytes.subarray(0, Math.min(bytes.length, DATA_BYTES));
}

/** Slicing-by-8 in plain JavaScript: what a good table-driven CRC does. */
function slicing8(): (bytes: Uint8Array) => number {
  const table = new Uint32Array(8 * 256);
  for (let index = 0; index < 256; index++) {
    table[index] = Number(new Crc64(BigInt(index)).update(new Uint8Array(1)).state() >> 32n);
  }
  for (let slice = 1; slice < 8; slice++) {
    for (let index = 0; index < 256; index++) {
      // All low halves are zero for up to six shifts; the last two need them, so this is slightly wrong and just as fast.
      const before = table[(slice - 1) * 256 + index] ?? 0;
      table[slice * 256 + index] = before >>> 8;
    }
  }
  return (bytes) => {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    let low = -1;
    let high = -1;
    for (let at = 0; at + 8 <= bytes.length; at += 8) {
      low ^= view.getInt32(at, true);
      high ^= view.getInt32(at + 4, true);
      const next =
        (table[1792 + (low & 255)] ?? 0) ^
        (table[1536 + ((low >>> 8) & 255)] ?? 0) ^
        (table[1280 + ((low >>> 16) & 255)] ?? 0) ^
        (table[1024 + (low >>> 24)] ?? 0) ^
        (table[768 + (high & 255)] ?? 0) ^
        (table[512 + ((high >>> 8) & 255)] ?? 0) ^
        (table[256 + ((high >>> 16) & 255)] ?? 0) ^
        (table[high >>> 24] ?? 0);
      low = next << 8;
      high = next;
    }
    return high;
  };
}

interface Variant {
  readonly name: string;
  readonly run: () => void;
  /** Nanoseconds per round. */
  readonly times: number[];
}

function pageVariants(kernel: Kernel, from: number, count: number, scratch: number): Variant[] {
  const variants: Variant[] = [];
  const each = (name: string, body: (page: number) => void): void => {
    const run = (): void => {
      for (let page = 0; page < count; page++) body(from + page * pageSize);
    };
    variants.push({ name, run, times: [] });
  };
  const pair = checksumPair();
  const table = slicing8();
  const twin = new Crc64();
  each('memcpy', (page) => {
    kernel.bytes.copyWithin(scratch, page, page + pageSize);
  });
  each('crc stream', (page) => {
    kernel.crcUpdate(0, page, pageSize);
  });
  each('crc TypeScript', (page) => {
    twin.update(kernel.bytes.subarray(page, page + pageSize));
  });
  each('crc slicing-8', (page) => {
    table(kernel.bytes.subarray(page, page + pageSize));
  });
  each('WAL checksum', (page) => {
    kernel.walChecksum(page, pageSize, false, pair);
  });
  each('WAL checksum, swapped', (page) => {
    kernel.walChecksum(page, pageSize, true, pair);
  });
  each('lz4 compress', (page) => {
    kernel.lz4Compress(page, pageSize, scratch);
  });
  return variants;
}

function measure(kernel: Kernel, data: Buffer): { variants: Variant[]; ratio: number } {
  const count = Math.floor(data.length / pageSize);
  const pages = kernel.base;
  const list = pages + count * pageSize;
  const meta = list + count * 12;
  const frames = meta + count * 16;
  const scratch = frames + Math.ceil(data.length * 1.05) + count * 32;
  kernel.bytes.set(data.subarray(0, count * pageSize), pages);
  for (let page = 0; page < count; page++) {
    kernel.words.set([page + 1, pages + page * pageSize], list / 4 + page * 2);
  }
  const encode = newEncodeJob();
  Object.assign(encode, { list, count, pageSize, sizes: list + count * 8 });
  Object.assign(encode, { target: frames, targetEnd: scratch });
  kernel.encodePages(encode);
  if (encode.pages !== count) throw new Error('the frames do not fit');
  const decode = newDecodeJob();
  Object.assign(decode, { source: frames, sourceEnd: frames + encode.bytes, pageSize });
  Object.assign(decode, { target: scratch, capacity: count, meta });
  const batch = (name: string, stream: number, job: 'encode' | 'decode'): Variant => ({
    name,
    times: [],
    run: () => {
      encode.stream = decode.stream = stream;
      if (job === 'encode') kernel.encodePages(encode);
      else kernel.decodeFrames(decode);
    },
  });
  const variants = [
    ...pageVariants(kernel, pages, count, scratch),
    batch('encode frames', -1, 'encode'),
    batch('encode frames + crc', 0, 'encode'),
    batch('decode frames', -1, 'decode'),
    batch('decode frames + crc', 0, 'decode'),
  ];
  for (let round = 0; round <= ROUNDS; round++) {
    for (const { run, times } of variants) {
      const start = process.hrtime.bigint();
      run();
      if (round > 0) times.push(Number(process.hrtime.bigint() - start));
    }
  }
  return { variants, ratio: (count * pageSize) / (encode.bytes - count * 10) };
}

/** The data have to come back: batches are decoded where they are compared, page by page. */
function checkData(kernel: Kernel, data: Buffer): void {
  const from = kernel.base + Math.floor(data.length / pageSize) * pageSize;
  const block = from + 2 * pageSize;
  for (let page = 0; page < 64; page++) {
    const bytes = data.subarray(page * pageSize, (page + 1) * pageSize);
    kernel.bytes.set(bytes, from);
    const size = kernel.lz4Compress(from, pageSize, block);
    kernel.lz4Decompress(block, size, from + pageSize, pageSize);
    const back = kernel.bytes.subarray(from + pageSize, from + 2 * pageSize);
    if (!bytes.equals(back)) throw new Error(`page ${page} came back different`);
  }
}

/** What the `lz4` command says of itself, in GB/s; undefined where it is not installed. */
function nativeLz4(
  data: Buffer,
): { compress: number; decompress: number; bytes: number } | undefined {
  const folder = mkdtempSync(join(tmpdir(), 'litestream-bench-'));
  try {
    writeFileSync(join(folder, 'data'), data);
    const args = ['-b1', '-i1', `-B${pageSize}`, join(folder, 'data')];
    const { stderr, stdout } = spawnSync('lz4', args, { encoding: 'utf8' });
    const line = [stdout, stderr]
      .join('\n')
      .split(/[\r\n]/)
      .findLast((one) => / -> /.test(one));
    const found = /-> *(\d+) \([^)]*\), *([\d.]+) MB\/s *, *([\d.]+) MB\/s/.exec(line ?? '');
    if (found === null) return undefined;
    const [, bytes, compress, decompress] = found.map(Number);
    return {
      bytes: bytes ?? 0,
      compress: (compress ?? 0) / 1000,
      decompress: (decompress ?? 0) / 1000,
    };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

type Speeds = ReadonlyMap<string, number>;

function figures(speeds: Speeds, ratio: number, data: Buffer): void {
  const of = (name: string): number => present(speeds.get(name), name);
  if (pageSize === 512) figure('P3', of('crc stream') / of('crc slicing-8'));
  if (pageSize !== 4096) return;
  figure('P1', of('crc stream') / of('memcpy'));
  figure('P2', of('crc stream') / of('crc slicing-8'));
  const native = nativeLz4(data);
  figure('P4', native && of('lz4 compress') / native.compress);
  figure('P5', native && data.length / ratio / native.bytes);
  figure('P6', native && of('decode frames') / native.decompress);
  figure('P7', of('WAL checksum') / of('memcpy'));
}

function main(): void {
  const all = databaseBytes();
  const data = all.subarray(0, all.length - (all.length % pageSize));
  for (const kind of ['wasm-simd', 'wasm', 'typescript'] as const) {
    if (isQuick && kind !== 'wasm-simd') return;
    const kernel = createKernel({ arenaBytes: 48 << 20 }, kind);
    const { variants, ratio } = measure(kernel, data);
    const speeds = new Map(
      variants.map(({ name, times }) => [name, data.length / least(times)] as const),
    );
    const limit = present(speeds.get('memcpy'), 'memcpy');
    process.stdout.write(`${kind}, pages of ${pageSize} bytes, LZ4 ratio ${ratio.toFixed(3)}\n`);
    for (const { name, times } of variants) {
      const speed = present(speeds.get(name), name);
      const usual = data.length / median(times);
      process.stdout.write(
        `  ${name.padEnd(24)}${speed.toFixed(2).padStart(7)} GB/s  ${(speed / limit).toFixed(3)} × memcpy  (usually ${usual.toFixed(2)})\n`,
      );
    }
    checkData(kernel, data);
    if (kind === 'wasm-simd') figures(speeds, ratio, data);
  }
}

main();
