import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { crc64 as crc64Twin, Crc64 } from './crc64.ts';
import { createKernel } from './create-kernel.ts';
import { crc64, kernelInfo } from './functions.ts';
import { newDecodeJob, newEncodeJob, type Kernel, type KernelKind } from './kernel.ts';
import { lz4Bound, lz4Compress, lz4Decompress } from './lz4.ts';
import { crc64Oracle, noise, pageSizes, samples, text } from './test-data.ts';
import { checksumPair, walChecksumBytes } from './wal-checksum.ts';

const RUNS = process.env['SLOW'] === '1' ? 5000 : 150;

const kinds: readonly KernelKind[] = ['wasm-simd', 'wasm', 'typescript'];

function put(kernel: Kernel, bytes: Uint8Array, at: number = kernel.base): number {
  kernel.bytes.set(bytes, at);
  return at;
}

test('the best implementation of this engine is the one with SIMD', () => {
  assert.equal(kernelInfo.kind, 'wasm-simd');
  assert.equal(createKernel({ arenaBytes: 1 << 17 }).kind, 'wasm-simd');
});

test('without WebAssembly the TypeScript kernel takes over', () => {
  const program = `
    import { kernelInfo, crc64, lz4Compress, lz4Decompress, lz4Bound } from './src/kernels/index.ts';
    // What --jitless does; with the flag itself Node cannot load .ts files.
    delete globalThis.WebAssembly;
    const page = new Uint8Array(4096).fill(7), block = new Uint8Array(lz4Bound(4096)), back = new Uint8Array(4096);
    lz4Decompress(block.subarray(0, lz4Compress(page, block)), back);
    console.log(typeof WebAssembly, kernelInfo.kind, crc64(new TextEncoder().encode('123456789')).toString(16), back[4095]);`;
  const result = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
    encoding: 'utf8',
  });
  assert.equal(result.stdout, 'undefined typescript b90956c775a41001 7\n', result.stderr);
});

test('a large input in parts through the shared kernel has the same CRC', () => {
  const bytes = noise(700_001, 4);
  assert.equal(crc64(bytes), crc64Twin(bytes));
});

for (const kind of kinds) {
  describe(`crc streams, ${kind}`, () => {
    const kernel = createKernel({ arenaBytes: 1 << 18 }, kind);

    test('agree with the byte-wise table for every length from 0 to 5000', () => {
      const bytes = noise(5000, 1);
      const expected = crc64Oracle(bytes);
      put(kernel, bytes);
      for (let length = 0; length <= 5000; length++) {
        kernel.crcReset(0);
        kernel.crcUpdate(0, kernel.base, length);
        assert.equal(kernel.crcValue(0), expected[length], `length ${length}`);
      }
    });

    test('handle input that starts with eight bytes of ones', () => {
      const bytes = noise(3000, 2);
      bytes.fill(255, 0, 8);
      put(kernel, bytes);
      kernel.crcReset(1);
      kernel.crcUpdate(1, kernel.base, 3000);
      assert.equal(kernel.crcValue(1), crc64Oracle(bytes)[3000]);
    });

    test('give the same value for any split, at any alignment, read at any time', () => {
      const bytes = noise(60_000, 3);
      const expected = crc64Oracle(bytes);
      put(kernel, bytes, kernel.base + 1);
      fc.assert(
        fc.property(fc.array(fc.nat(4200), { maxLength: 20 }), (lengths) => {
          kernel.crcReset(0);
          kernel.crcReset(2, 0n);
          let at = 0;
          for (const length of lengths) {
            const part = Math.min(length, bytes.length - at);
            kernel.crcUpdate(0, kernel.base + 1 + at, part);
            kernel.crcUpdate(2, kernel.base + 1, 17);
            at += part;
            assert.equal(kernel.crcValue(0), expected[at]);
          }
        }),
        { numRuns: RUNS },
      );
    });

    test('start from any register and combine', () => {
      const bytes = noise(9000, 5);
      put(kernel, bytes);
      fc.assert(
        fc.property(fc.nat(9000), fc.bigInt(0n, (1n << 64n) - 1n), (split, seed) => {
          kernel.crcReset(0, seed);
          kernel.crcReset(1, 0n);
          kernel.crcReset(2, seed);
          kernel.crcUpdate(0, kernel.base, split);
          kernel.crcUpdate(1, kernel.base + split, 9000 - split);
          kernel.crcUpdate(2, kernel.base, 9000);
          const [a, b, whole] = [0, 1, 2].map((stream) => kernel.crcState(stream));
          assert.equal(kernel.crcCombine(a!, b!, 9000 - split), whole);
          assert.equal(whole, new Crc64(seed).update(bytes).state());
        }),
        { numRuns: RUNS / 3 },
      );
    });

    test('combine over a length that needs more than 32 bits', () => {
      const twin = createKernel({ arenaBytes: 1 << 17 }, 'typescript');
      const [a, b, length] = [0x0123456789abcdefn, 0xfedcba9876543210n, 2 ** 45 + 12345];
      assert.equal(kernel.crcCombine(a, b, length), twin.crcCombine(a, b, length));
    });

    test('give the documented page checksums', () => {
      const cases: readonly (readonly [number, Uint8Array, bigint])[] = [
        [1, new Uint8Array(512).fill(0x31), 0xeb1a999231044dddn],
        [2, new Uint8Array(512).fill(0x31), 0xebc8854231044dddn],
        [1, new Uint8Array(512), 0xefb1f44fecd99000n],
        [1, new Uint8Array(4096), 0xd9328f592d9e733dn],
        [1, new Uint8Array(512).fill(0x33), 0xcdb0244fecd99000n],
      ];
      for (const [pgno, page, expected] of cases) {
        const at = put(kernel, page, kernel.base + 64);
        kernel.words.set([pgno, at], kernel.base / 4);
        kernel.checksumPages(kernel.base, 1, page.length, kernel.base + 8);
        assert.equal(kernel.view.getBigUint64(kernel.base + 8, true), expected);
      }
    });

    test('refuse streams and addresses that do not exist', () => {
      assert.throws(() => kernel.crcValue(4), { code: 'ERR_ASSERTION' });
      assert.throws(() => kernel.crcReset(-1), { code: 'ERR_ASSERTION' });
      assert.throws(() => kernel.crcUpdate(0, 0, 8), { code: 'ERR_ASSERTION' });
      assert.throws(() => kernel.crcUpdate(0, kernel.limit - 7, 8), { code: 'ERR_ASSERTION' });
    });
  });

  describe(`WAL checksum, ${kind}`, () => {
    test('equals the one over bytes in both orders', () => {
      const kernel = createKernel({ arenaBytes: 1 << 17 }, kind);
      const bytes = noise(4096, 8);
      put(kernel, bytes);
      for (const bigEndian of [false, true]) {
        for (const length of [0, 8, 24, 4096]) {
          const a = checksumPair(-5, 7);
          const b = checksumPair(-5, 7);
          kernel.walChecksum(kernel.base, length, bigEndian, a);
          walChecksumBytes(bytes.subarray(0, length), bigEndian, b);
          assert.deepEqual(a, b);
        }
      }
    });
  });

  describe(`lz4, ${kind}`, () => {
    const kernel = createKernel({ arenaBytes: 1 << 19 }, kind);
    const block = kernel.base + (1 << 17);
    const output = kernel.base + (1 << 18);

    /** Compresses here, decompresses here and in the twin. */
    function roundTrip(bytes: Uint8Array): void {
      put(kernel, bytes);
      const size = kernel.lz4Compress(kernel.base, bytes.length, block);
      assert.ok(size <= lz4Bound(bytes.length));
      assert.ok(kernel.lz4Decompress(block, size, output, bytes.length));
      assert.deepEqual(kernel.bytes.slice(output, output + bytes.length), bytes);
      const twin = new Uint8Array(bytes.length);
      lz4Decompress(kernel.bytes.subarray(block, block + size), twin);
      assert.deepEqual(twin, bytes);
      assert.deepEqual(kernel.bytes.slice(kernel.base, kernel.base + bytes.length), bytes);
    }

    test('returns every kind of page of every size unchanged', () => {
      for (const size of pageSizes) for (const page of samples(size)) roundTrip(page);
    });

    test('returns inputs of every length up to 100 and any small alphabet unchanged', () => {
      for (let length = 0; length <= 100; length++) roundTrip(noise(length, length).fill(7, 3));
      fc.assert(
        fc.property(fc.uint8Array({ maxLength: 400, max: 3 }), (bytes) => {
          roundTrip(bytes);
        }),
        { numRuns: RUNS },
      );
    });

    test('decodes blocks of the twin', () => {
      for (const page of samples(4096)) {
        const target = new Uint8Array(lz4Bound(page.length));
        const size = lz4Compress(page, target);
        put(kernel, target.subarray(0, size), block);
        assert.ok(kernel.lz4Decompress(block, size, output, page.length));
        assert.deepEqual(kernel.bytes.slice(output, output + page.length), page);
      }
    });
  });

  describe(`damaged blocks, ${kind}`, () => {
    const kernel = createKernel({ arenaBytes: 1 << 17 }, kind);
    const output = kernel.base + 16_384;
    const before = 2048;
    const after = 8192;
    const blocks = samples(1024).map((page) => {
      const target = new Uint8Array(lz4Bound(page.length));
      return target.slice(0, lz4Compress(page, target));
    });

    /** Decodes; checks that nothing outside the slot and its slack was written and that the twin agrees. */
    function decode(bytes: Uint8Array): void {
      put(kernel, bytes);
      kernel.bytes.fill(0xa5, output - before, output + 1024 + after);
      const good = kernel.lz4Decompress(kernel.base, bytes.length, output, 1024);
      for (let at = output - before; at < output; at++) assert.equal(kernel.bytes[at], 0xa5);
      for (let at = output + 1024 + 32; at < output + 1024 + after; at++) {
        assert.equal(kernel.bytes[at], 0xa5);
      }
      const twin = new Uint8Array(1024);
      if (good) {
        lz4Decompress(bytes, twin);
        assert.deepEqual(kernel.bytes.slice(output, output + 1024), twin);
      } else {
        assert.throws(() => {
          lz4Decompress(bytes, twin);
        }, /invalid LZ4 block/);
      }
    }

    test('are refused or decoded as the twin does, and write nowhere else', () => {
      fc.assert(
        fc.property(
          fc.nat(blocks.length - 1),
          fc.array(fc.tuple(fc.nat(2000), fc.nat(255)), { maxLength: 6 }),
          fc.option(fc.nat(2000)),
          (which, changes, cut) => {
            const bytes = blocks[which]!.slice(0, cut ?? undefined);
            for (const [at, value] of changes) {
              if (bytes.length > 0) bytes[at % bytes.length] = value;
            }
            decode(bytes);
          },
        ),
        { numRuns: RUNS * 4 },
      );
    });

    test('are refused when cut anywhere', () => {
      for (const block of blocks) {
        for (let cut = 0; cut < block.length; cut += 1 + (cut >> 4)) decode(block.subarray(0, cut));
      }
    });

    test('made of arbitrary bytes are refused or decoded as the twin does', () => {
      fc.assert(
        fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
          decode(bytes);
        }),
        { numRuns: RUNS * 4 },
      );
    });
  });
}

describe('page frames', () => {
  const pageSize = 1024;
  const pages = samples(pageSize);

  /** Places pages and their list in a kernel and frames them with CRC stream 0 into 64 KiB at `target`. */
  function encode(kernel: Kernel, room: number): { job: ReturnType<typeof newEncodeJob> } {
    const list = kernel.base;
    const pagesAt = kernel.base + 4096;
    pages.forEach((page, index) => {
      kernel.words.set([index * 3 + 1, pagesAt + index * pageSize], list / 4 + index * 2);
      kernel.bytes.set(page, pagesAt + index * pageSize);
    });
    const job = newEncodeJob();
    Object.assign(job, { list, count: pages.length, pageSize, sizes: list + 2048, stream: 0 });
    job.target = pagesAt + pages.length * pageSize + 64;
    job.targetEnd = job.target + room;
    kernel.crcReset(0);
    kernel.encodePages(job);
    return { job };
  }

  function frames(kernel: Kernel): Uint8Array {
    const { job } = encode(kernel, 65_536);
    assert.equal(job.pages, pages.length);
    const end = job.target + job.bytes;
    kernel.bytes.fill(0, end, end + 6);
    kernel.crcUpdate(0, end, 6);
    return kernel.bytes.slice(job.target, end + 6);
  }

  function decodeJob(kernel: Kernel, bytes: Uint8Array): ReturnType<typeof newDecodeJob> {
    const source = put(kernel, bytes, kernel.base + 2048);
    const job = newDecodeJob();
    Object.assign(job, { source, sourceEnd: source + bytes.length, pageSize, stride: pageSize });
    Object.assign(job, { target: source + 70_000, meta: kernel.base, capacity: 100, stream: 1 });
    kernel.crcReset(1);
    return job;
  }

  for (const kind of kinds) {
    const kernel = createKernel({ arenaBytes: 1 << 18 }, kind);
    const encoded = frames(kernel);
    const crc = kernel.crcValue(0);

    test(`decode to the same pages, sizes and CRC, ${kind}`, () => {
      const { job } = encode(kernel, 65_536);
      const sizes = pages.map((_, index) => kernel.words[job.sizes / 4 + index]);
      for (const reader of kinds.map((each) => createKernel({ arenaBytes: 1 << 18 }, each))) {
        const back = decodeJob(reader, encoded);
        reader.decodeFrames(back);
        assert.equal(back.status, 'end');
        assert.equal(back.frames, pages.length);
        assert.equal(back.consumed, encoded.length);
        assert.equal(reader.crcValue(1), crc);
        let offset = 0;
        pages.forEach((page, index) => {
          const meta = Array.from(reader.words.slice(back.meta / 4 + index * 4).subarray(0, 4));
          const slot = back.target + index * pageSize;
          assert.deepEqual(meta, [index * 3 + 1, offset, sizes[index], slot]);
          assert.deepEqual(reader.bytes.slice(slot, slot + pageSize), page);
          offset += sizes[index]!;
        });
      }
    });

    test(`stop at a full target, an incomplete frame, a legacy frame, and go on, ${kind}`, () => {
      const job = decodeJob(kernel, encoded);
      job.capacity = 2;
      kernel.decodeFrames(job);
      assert.deepEqual([job.status, job.frames], ['full', 2]);
      // The rest byte by byte: whatever is incomplete says how much it needs.
      let start = job.consumed;
      let total = 2;
      for (let end = start; job.status !== 'end'; end++) {
        Object.assign(job, { source: kernel.base + 2048 + start, capacity: 1, target: 200_000 });
        job.sourceEnd = kernel.base + 2048 + end;
        kernel.decodeFrames(job);
        if (job.status === 'incomplete') assert.ok(job.needed > end - start);
        total += job.frames;
        start += job.consumed;
      }
      assert.equal(total, pages.length);
      assert.equal(kernel.crcValue(1), crc);
    });

    test(`say what is wrong without consuming the frame, ${kind}`, () => {
      const cases: readonly (readonly [string, (bytes: Uint8Array) => unknown])[] = [
        ['legacy', (bytes) => bytes.fill(0, 5, 6)],
        ['bad-header', (bytes) => bytes.fill(3, 5, 6)],
        ['bad-header', (bytes) => bytes.fill(0, 0, 4)],
        ['bad-size', (bytes) => bytes.fill(0, 6, 10)],
        ['bad-size', (bytes) => bytes.fill(255, 6, 10)],
        ['bad-block', (bytes) => bytes.fill(255, 10, 11)],
        ['incomplete', (bytes) => bytes.fill(2, 8, 9)],
      ];
      for (const [status, change] of cases) {
        const bytes = encoded.slice(0, 500);
        change(bytes);
        const job = decodeJob(kernel, bytes);
        kernel.decodeFrames(job);
        assert.deepEqual([job.status, job.frames, job.consumed], [status, 0, 0]);
        assert.equal(kernel.crcValue(1), 0n);
      }
    });

    test(`are written only while the worst case fits, ${kind}`, () => {
      const worst = 10 + lz4Bound(pageSize);
      assert.equal(encode(kernel, worst - 1).job.pages, 0);
      const { job } = encode(kernel, worst);
      assert.ok(job.pages >= 1 && job.bytes <= worst);
    });
  }

  test('are byte-identical from both compiled kernels', () => {
    const [simd, basic] = [0, 1].map((index) =>
      frames(createKernel({ arenaBytes: 1 << 18 }, kinds[index])),
    );
    assert.deepEqual(simd, basic);
  });
});

test('decodes into one slot when only checksums are wanted', () => {
  const kernel = createKernel({ arenaBytes: 1 << 17 });
  const page = put(kernel, text('same slot ', 512), kernel.base + 512);
  kernel.words.set([1, page, 2, page], kernel.base / 4);
  const job = newEncodeJob();
  Object.assign(job, { list: kernel.base, count: 2, pageSize: 512, sizes: kernel.base + 64 });
  Object.assign(job, { target: kernel.base + 2048, targetEnd: kernel.base + 8192, stream: 0 });
  kernel.crcReset(0);
  kernel.encodePages(job);
  const back = newDecodeJob();
  Object.assign(back, { source: job.target, sourceEnd: job.target + job.bytes, pageSize: 512 });
  Object.assign(back, { target: kernel.base + 16_384, capacity: 2, meta: kernel.base, stream: 1 });
  kernel.crcReset(1);
  kernel.bytes.fill(0xa5, back.target, back.target + 1024);
  kernel.decodeFrames(back);
  assert.equal(back.frames, 2);
  assert.equal(kernel.crcValue(1), kernel.crcValue(0));
  assert.equal(kernel.bytes[back.target + 600], 0xa5);
});

describe('registers of single frames', () => {
  for (const kind of kinds) {
    test(`add up to the CRC of the whole, for all page sizes, ${kind}`, () => {
      for (const pageSize of pageSizes) {
        const kernel = createKernel({ arenaBytes: 1 << 20 }, kind);
        const { base } = kernel;
        const list = base;
        const from = put(kernel, noise(pageSize * 2, 11), base + 4096);
        kernel.bytes.set(text('a page ', pageSize), from + pageSize);
        kernel.words.set([7, from, 9, from + pageSize], list / 4);
        const encode = newEncodeJob();
        const target = base + 200_000;
        Object.assign(encode, { list, count: 2, pageSize, sizes: base + 1024, stream: 0 });
        Object.assign(encode, { target, targetEnd: target + 200_000 });
        // The stream has seen a header, as that of a file has.
        for (const stream of [0, 1, 2]) {
          kernel.crcReset(stream);
          kernel.crcUpdate(stream, from, 100);
        }
        kernel.encodePages(encode);
        const decode = newDecodeJob();
        const sums = base + 2048;
        Object.assign(decode, { source: target, sourceEnd: target + encode.bytes, pageSize, sums });
        Object.assign(decode, { target: base + 500_000, capacity: 2, meta: base, stream: 1 });
        kernel.decodeFrames(decode);
        assert.equal(decode.frames, 2);
        assert.equal(kernel.crcState(1), kernel.crcState(0), `page size ${pageSize}`);
        for (const frame of [0, 1]) kernel.crcAppend(2, sums + frame * 8, 10 + pageSize);
        // What follows goes on from there.
        for (const stream of [0, 2]) kernel.crcUpdate(stream, from, 1100);
        kernel.crcAppend(2, sums, 10 + pageSize);
        const state = kernel.view.getBigUint64(sums, true);
        const whole = kernel.crcCombine(kernel.crcState(0), state, 10 + pageSize);
        assert.equal(kernel.crcState(2), whole, `page size ${pageSize}`);
      }
    });
  }
});
