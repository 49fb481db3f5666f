import { assert } from '../lib/assert.ts';
import {
  checkDecodeJob,
  checkEncodeJob,
  checkRange,
  kernelLayout,
  type DecodeJob,
  type DecodeStatus,
  type EncodeJob,
  type Kernel,
  type KernelKind,
  type KernelOptions,
} from './kernel.ts';
import { RESULTS } from './layout.ts';
import { walChecksum, type ChecksumPair } from './wal-checksum.ts';

/** What the module exports. `u64` results arrive as signed BigInts. */
interface Exports {
  setUp(): void;
  crcReset(stream: number, seed: bigint): void;
  crcUpdate(stream: number, offset: number, length: number): void;
  crcState(stream: number): bigint;
  crcAppend(stream: number, register: number, length: number): void;
  crcCombine(a: bigint, b: bigint, length: number): bigint;
  walBigEndian(offset: number, length: number): void;
  lz4Compress(source: number, size: number, target: number): number;
  lz4Decompress(source: number, size: number, target: number, targetSize: number): number;
  encodePages(...numbers: number[]): void;
  decodeFrames(...numbers: number[]): number;
  checksumPages(...numbers: number[]): void;
}

const ONES = 0xffff_ffff_ffff_ffffn;
const RESULT = RESULTS / 4;

/** In the order of the DECODE_ constants. */
const STATUSES: readonly DecodeStatus[] = [
  'full',
  'incomplete',
  'end',
  'legacy',
  'bad-header',
  'bad-size',
  'bad-block',
];

/** {@link Kernel} on a compiled module. */
export class WasmKernel implements Kernel {
  readonly kind: KernelKind;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly view: DataView<ArrayBuffer>;
  readonly words: Int32Array<ArrayBuffer>;
  readonly base: number;
  readonly limit: number;
  readonly streams: number;
  readonly #exports: Exports;

  constructor(kind: KernelKind, module: WebAssembly.Module, options: KernelOptions) {
    const layout = kernelLayout(options);
    const pages = layout.bytes / 65536;
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    const instance = new WebAssembly.Instance(module, { env: { memory } });
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the module is built from this repository
    this.#exports = instance.exports as Exports;
    this.kind = kind;
    this.bytes = new Uint8Array(memory.buffer);
    this.view = new DataView(memory.buffer);
    this.words = new Int32Array(memory.buffer);
    this.base = layout.base;
    this.limit = layout.limit;
    this.streams = layout.streams;
    this.#exports.setUp();
    for (let stream = 0; stream < layout.streams; stream++) this.crcReset(stream);
  }

  crcReset(stream: number, seed: bigint = ONES): void {
    this.#checkStream(stream);
    this.#exports.crcReset(stream, seed);
  }

  crcUpdate(stream: number, offset: number, length: number): void {
    this.#checkStream(stream);
    checkRange(this, offset, length);
    this.#exports.crcUpdate(stream, offset, length);
  }

  crcValue(stream: number): bigint {
    return this.crcState(stream) ^ ONES;
  }

  crcState(stream: number): bigint {
    this.#checkStream(stream);
    return BigInt.asUintN(64, this.#exports.crcState(stream));
  }

  crcAppend(stream: number, register: number, length: number): void {
    this.#checkStream(stream);
    checkRange(this, register, 8);
    this.#exports.crcAppend(stream, register, length);
  }

  crcCombine(a: bigint, b: bigint, lengthB: number): bigint {
    return BigInt.asUintN(64, this.#exports.crcCombine(a, b, lengthB));
  }

  walChecksum(offset: number, length: number, bigEndian: boolean, pair: ChecksumPair): void {
    checkRange(this, offset, length);
    if (!bigEndian) {
      // JavaScript is as fast as the dependency chain allows; only the byte swap is not.
      walChecksum(this.words, offset / 4, (offset + length) / 4, pair);
      return;
    }
    assert((length & 7) === 0, 'checksummed length is a multiple of 8');
    this.words[RESULT] = pair[0]!;
    this.words[RESULT + 1] = pair[1]!;
    this.#exports.walBigEndian(offset, length);
    pair[0] = this.words[RESULT];
    pair[1] = this.words[RESULT + 1]!;
  }

  lz4Compress(source: number, size: number, target: number): number {
    checkRange(this, source, size);
    checkRange(this, target, size + Math.floor(size / 255) + 16);
    assert(size <= 65536, 'an LZ4 block of the kernel holds at most 64 KiB');
    return this.#exports.lz4Compress(source, size, target);
  }

  lz4Decompress(source: number, sourceSize: number, target: number, targetSize: number): boolean {
    checkRange(this, source, sourceSize);
    checkRange(this, target, targetSize);
    return this.#exports.lz4Decompress(source, sourceSize, target, targetSize) !== 0;
  }

  encodePages(job: EncodeJob): void {
    checkEncodeJob(this, job);
    const { list, count, pageSize, target, targetEnd, sizes, stream } = job;
    if (stream >= 0) this.#checkStream(stream);
    this.#exports.encodePages(list, count, pageSize, target, targetEnd, sizes, stream);
    job.pages = this.words[RESULT]!;
    job.bytes = this.words[RESULT + 1]!;
  }

  decodeFrames(job: DecodeJob): void {
    checkDecodeJob(this, job);
    const { source, sourceEnd, pageSize, target, stride, capacity, meta, stream, sums } = job;
    if (stream >= 0) this.#checkStream(stream);
    const status = this.#exports.decodeFrames(
      source,
      sourceEnd,
      pageSize,
      target,
      stride,
      capacity,
      meta,
      stream,
      sums,
    );
    job.status = STATUSES[status]!;
    job.frames = this.words[RESULT]!;
    job.consumed = this.words[RESULT + 1]!;
    job.needed = this.words[RESULT + 2]!;
  }

  checksumPages(list: number, count: number, pageSize: number, target: number): void {
    checkRange(this, list, count * 8);
    checkRange(this, target, count * 8);
    this.#exports.checksumPages(list, count, pageSize, target, 0);
  }

  #checkStream(stream: number): void {
    assert(stream >= 0 && stream < this.streams, 'the CRC stream exists');
  }
}
