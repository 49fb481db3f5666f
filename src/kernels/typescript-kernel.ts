import { assert, present } from '../lib/assert.ts';
import { isLitestreamError } from '../lib/errors.ts';
import { Crc64, crc64Combine } from './crc64.ts';
import {
  checkDecodeJob,
  checkEncodeJob,
  checkRange,
  kernelLayout,
  type DecodeJob,
  type DecodeStatus,
  type EncodeJob,
  type Kernel,
  type KernelOptions,
} from './kernel.ts';
import { lz4Bound, lz4Compress, lz4Decompress } from './lz4.ts';
import { walChecksum, walChecksumBigEndian, type ChecksumPair } from './wal-checksum.ts';

/**
 * {@link Kernel} without WebAssembly (`--jitless`, engines that forbid code generation). The oracle of the compiled ones.
 */
export class TypeScriptKernel implements Kernel {
  readonly kind = 'typescript';
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly view: DataView<ArrayBuffer>;
  readonly words: Int32Array<ArrayBuffer>;
  readonly base: number;
  readonly limit: number;
  readonly streams: number;
  readonly #crcs: Crc64[];

  constructor(options: KernelOptions) {
    const layout = kernelLayout(options);
    const buffer = new ArrayBuffer(layout.bytes);
    this.bytes = new Uint8Array(buffer);
    this.view = new DataView(buffer);
    this.words = new Int32Array(buffer);
    this.base = layout.base;
    this.limit = layout.limit;
    this.streams = layout.streams;
    this.#crcs = Array.from({ length: layout.streams }, () => new Crc64());
  }

  crcReset(stream: number, seed?: bigint): void {
    this.#stream(stream);
    this.#crcs[stream] = new Crc64(seed);
  }

  crcUpdate(stream: number, offset: number, length: number): void {
    this.#stream(stream).update(this.#slice(offset, length));
  }

  crcValue(stream: number): bigint {
    return this.#stream(stream).digest();
  }

  crcState(stream: number): bigint {
    return this.#stream(stream).state();
  }

  crcAppend(stream: number, register: number, length: number): void {
    const state = this.view.getBigUint64(register, true);
    this.crcReset(stream, crc64Combine(this.crcState(stream), state, length));
  }

  crcCombine(a: bigint, b: bigint, lengthB: number): bigint {
    return crc64Combine(a, b, lengthB);
  }

  walChecksum(offset: number, length: number, bigEndian: boolean, pair: ChecksumPair): void {
    checkRange(this, offset, length);
    const sum = bigEndian ? walChecksumBigEndian : walChecksum;
    sum(this.words, offset / 4, (offset + length) / 4, pair);
  }

  lz4Compress(source: number, size: number, target: number): number {
    assert(size <= 65536, 'an LZ4 block of the kernel holds at most 64 KiB');
    return lz4Compress(this.#slice(source, size), this.#slice(target, lz4Bound(size)));
  }

  lz4Decompress(source: number, sourceSize: number, target: number, targetSize: number): boolean {
    try {
      lz4Decompress(this.#slice(source, sourceSize), this.#slice(target, targetSize));
      return true;
    } catch (error) {
      if (isLitestreamError(error, 'ERR_LZ4')) return false;
      throw error;
    }
  }

  encodePages(job: EncodeJob): void {
    checkEncodeJob(this, job);
    const { pageSize } = job;
    const worst = 10 + lz4Bound(pageSize);
    let to = job.target;
    let page = 0;
    for (; page < job.count && worst <= job.targetEnd - to; page++) {
      const pgno = this.view.getUint32(job.list + page * 8, true);
      const address = this.view.getUint32(job.list + page * 8 + 4, true);
      const size = this.lz4Compress(address, pageSize, to + 10);
      this.view.setUint32(to, pgno);
      this.view.setUint16(to + 4, 1);
      this.view.setUint32(to + 6, size);
      this.#feed(job.stream, to, address, pageSize);
      this.words[job.sizes / 4 + page] = size + 10;
      to += size + 10;
    }
    job.pages = page;
    job.bytes = to - job.target;
  }

  decodeFrames(job: DecodeJob): void {
    checkDecodeJob(this, job);
    job.frames = 0;
    job.consumed = 0;
    job.needed = 6;
    job.status = 'full';
    while (job.frames < job.capacity) {
      job.status = this.#decodeFrame(job, job.source + job.consumed);
      if (job.status !== 'full') return;
    }
  }

  checksumPages(list: number, count: number, pageSize: number, target: number): void {
    const header = new Uint8Array(4);
    for (let index = 0; index < count; index++) {
      const pgno = this.view.getUint32(list + index * 8, true);
      const address = this.view.getUint32(list + index * 8 + 4, true);
      new DataView(header.buffer).setUint32(0, pgno);
      const crc = new Crc64().update(header).update(this.#slice(address, pageSize)).digest();
      this.view.setBigUint64(target + index * 8, crc | 0x8000_0000_0000_0000n, true);
    }
  }

  /** Decodes the frame at `at` into its slot and counts it, or says why not. */
  #decodeFrame(job: DecodeJob, at: number): DecodeStatus {
    const left = job.sourceEnd - at;
    job.needed = 6;
    if (left < 6) return 'incomplete';
    const pgno = this.view.getUint32(at);
    const flags = this.view.getUint16(at + 4);
    if (flags === 0 && pgno === 0) {
      if (job.stream >= 0) this.crcUpdate(job.stream, at, 6);
      job.consumed += 6;
      return 'end';
    }
    if (flags === 0) return 'legacy';
    if (flags !== 1 || pgno === 0) return 'bad-header';
    job.needed = 10;
    if (left < 10) return 'incomplete';
    const size = this.view.getUint32(at + 6);
    if (size === 0 || size > lz4Bound(job.pageSize)) return 'bad-size';
    job.needed = 10 + size;
    if (left < job.needed) return 'incomplete';
    const page = job.target + job.frames * job.stride;
    if (!this.lz4Decompress(at + 10, size, page, job.pageSize)) return 'bad-block';
    this.#feed(job.stream, at, page, job.pageSize);
    if (job.sums >= 0) {
      const sum = new Crc64(0n).update(this.#slice(at, 10)).update(this.#slice(page, job.pageSize));
      this.view.setBigUint64(job.sums + job.frames * 8, sum.state(), true);
    }
    this.words.set([pgno | 0, job.consumed, job.needed, page], job.meta / 4 + job.frames * 4);
    job.consumed += job.needed;
    job.frames++;
    return 'full';
  }

  #feed(stream: number, header: number, page: number, pageSize: number): void {
    if (stream < 0) return;
    this.crcUpdate(stream, header, 10);
    this.crcUpdate(stream, page, pageSize);
  }

  #slice(offset: number, length: number): Uint8Array {
    checkRange(this, offset, length);
    return this.bytes.subarray(offset, offset + length);
  }

  #stream(stream: number): Crc64 {
    return present(this.#crcs[stream], 'the CRC stream');
  }
}
