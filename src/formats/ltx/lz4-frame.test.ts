import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { encodeLz4Frame, type Lz4FrameOptions, xxh32 } from '../../kernels/index.ts';
import { decodePageFrame } from './index.ts';
import { fill, noisePage } from './test-data.ts';

/** Decodes `frame` as the payload of page 1. */
function decode(frame: Uint8Array, pageSize: number): Uint8Array {
  const page = new Uint8Array(pageSize);
  decodePageFrame(Uint8Array.of(0, 0, 0, 1, 0, 0, ...frame), 1, page);
  return page;
}

function mixed(pageSize: number): Uint8Array {
  const page = noisePage(5, pageSize);
  page.fill(0x20, 100, pageSize - 100);
  return page;
}

/** The header checksum of the descriptor is made right again. */
function withDescriptor(frame: Uint8Array, flg: number, bd: number): Uint8Array {
  const changed = frame.slice();
  changed[4] = flg;
  changed[5] = bd;
  changed[6] = xxh32(changed.subarray(4, 6)) >>> 8;
  return changed;
}

function u32le(value: number): number[] {
  return [value & 255, (value >>> 8) & 255, (value >>> 16) & 255, value >>> 24];
}

describe('LZ4 frame payload', () => {
  test('is written as Litestream v0.5.0 to v0.5.15 did', () => {
    const frame = encodeLz4Frame(fill(0x31));
    assert.deepEqual([...frame.subarray(0, 7)], [0x04, 0x22, 0x4d, 0x18, 0x64, 0x40, 0xa7]);
    assert.deepEqual([...frame.subarray(-8)], [0, 0, 0, 0, 0x5e, 0x2d, 0x21, 0x98]);
    const stored = encodeLz4Frame(noisePage(1));
    assert.equal(stored.length, 531);
    assert.deepEqual([...stored.subarray(7, 11)], [0x00, 0x02, 0x00, 0x80]);
  });

  test('every accepted descriptor decodes, with one block and with several', () => {
    const options = fc.record<Lz4FrameOptions>({
      blockSizeCode: fc.integer({ min: 4, max: 7 }),
      bytesPerBlock: fc.integer({ min: 13, max: 5000 }),
      blockChecksum: fc.boolean(),
      contentSize: fc.boolean(),
    });
    fc.assert(
      fc.property(
        options,
        fc.constantFrom(fill(0x31), mixed(4096), noisePage(3)),
        (choice, page) => {
          assert.deepEqual(decode(encodeLz4Frame(page, choice), page.length), page);
        },
      ),
    );
  });

  test('a block may refer to the output of an earlier one', () => {
    // 256 literals, then: no literals, match of 251 bytes at offset 256, 5 literals.
    const first = noisePage(9, 256);
    const page = Uint8Array.of(...first, ...first.subarray(0, 251), 1, 2, 3, 4, 5);
    const linked = [0x0f, 0x00, 0x01, 251 - 4 - 15, 0x50, 1, 2, 3, 4, 5];
    const head = withDescriptor(encodeLz4Frame(page), 0x44, 0x40).subarray(0, 7);
    const stored = [...u32le(0x80000100), ...first];
    const end = [...u32le(0), ...u32le(xxh32(page))];
    const frame = Uint8Array.of(...head, ...stored, ...u32le(linked.length), ...linked, ...end);
    assert.deepEqual(decode(frame, 512), page);
  });

  const good = encodeLz4Frame(fill(0x31));
  const REJECTED: readonly (readonly [string, Uint8Array, RegExp])[] = [
    ['another magic', Uint8Array.of(5, ...good.subarray(1)), /lz4: bad magic number/],
    [
      'a wrong header checksum',
      Uint8Array.of(...good.subarray(0, 6), 0, ...good.subarray(7)),
      /lz4: invalid header checksum: got 0; expected a7/,
    ],
    [
      'no content checksum',
      encodeLz4Frame(fill(0x31), { contentChecksum: false }),
      /read lz4 trailer: expected lz4 end frame/,
    ],
    [
      'a wrong content checksum',
      Uint8Array.of(...good.subarray(0, -1), 0),
      /read lz4 trailer: expected lz4 end frame/,
    ],
    ['a block size code below 4', withDescriptor(good, 0x64, 0x30), /lz4: invalid block size/],
    ['another version', withDescriptor(good, 0x24, 0x40), /lz4: invalid frame descriptor/],
    ['a dictionary', withDescriptor(good, 0x65, 0x40), /lz4: invalid frame descriptor/],
    ['a reserved flag', withDescriptor(good, 0x66, 0x40), /lz4: invalid frame descriptor/],
    [
      'a reserved descriptor bit',
      withDescriptor(good, 0x64, 0xc0),
      /lz4: invalid frame descriptor/,
    ],
    ['a wrong block checksum', withDescriptor(good, 0x74, 0x40), /lz4: invalid block checksum/],
    [
      'a page that is too short',
      encodeLz4Frame(fill(0x31, 511)),
      /invalid source or destination buffer too short .*expected 512 bytes, found 511/,
    ],
    [
      'a page that is too long',
      encodeLz4Frame(fill(0x31, 513)),
      /invalid source or destination buffer too short/,
    ],
    [
      'a content size of another page size',
      encodeLz4Frame(fill(0x31, 1024), { contentSize: true }),
      /invalid content size/,
    ],
    [
      'an empty stored block',
      Uint8Array.of(...good.subarray(0, 7), ...u32le(0x80000000), ...good.subarray(7)),
      /lz4: invalid block size/,
    ],
    [
      'an empty compressed block',
      Uint8Array.of(...good.subarray(0, 7), ...u32le(1), 0, ...good.subarray(7)),
      /invalid source or destination buffer too short/,
    ],
    [
      'a block that claims 2 GiB',
      Uint8Array.of(...good.subarray(0, 7), ...u32le(0x7fffffff), ...good.subarray(11)),
      /lz4: invalid block size .*expected 1 to 530, found 2147483647/,
    ],
    [
      'a block behind a full page',
      Uint8Array.of(...good.subarray(0, -8), ...u32le(1), 0, ...good.subarray(-8)),
      /lz4: invalid block size/,
    ],
    ['bytes behind the frame', Uint8Array.of(...good, 0), /page frame is longer than its page/],
  ];
  for (const [what, frame, message] of REJECTED) {
    test(`rejects ${what}`, () => {
      assert.throws(() => decode(frame, 512), { code: 'ERR_LTX_CORRUPTED', message });
    });
  }

  test('rejects every cut', () => {
    for (const choice of [{}, { bytesPerBlock: 100, blockChecksum: true, contentSize: true }]) {
      const frame = encodeLz4Frame(mixed(512), choice);
      for (let size = 0; size < frame.length; size++) {
        assert.throws(() => decode(frame.subarray(0, size), 512), {
          code: 'ERR_LTX_CORRUPTED',
          message: /^unexpected EOF /,
        });
      }
    }
  });
});

describe('single page frames', () => {
  const page = new Uint8Array(512);
  const CASES: readonly (readonly [string, readonly number[], RegExp])[] = [
    ['a cut page header', [0, 0, 0, 1, 0], /unexpected EOF/],
    ['the end marker', [0, 0, 0, 0, 0, 0], /another page .*expected 1, found end marker/],
    ['another page', [0, 0, 0, 2, 0, 1], /another page .*expected 1, found 2/],
    ['a cut size prefix', [0, 0, 0, 1, 0, 1, 0, 0, 0], /buffer too small for size prefix/],
    [
      'a cut payload',
      [0, 0, 0, 1, 0, 1, 0, 0, 0, 24, 1],
      /buffer too small for data: need 34, have 11/,
    ],
    ['a payload of 4 GiB', [0, 0, 0, 1, 0, 1, 255, 255, 255, 255], /invalid payload size/],
    ['an empty payload', [0, 0, 0, 1, 0, 1, 0, 0, 0, 0], /invalid payload size/],
    ['an unknown flag', [0, 0, 0, 1, 0, 2], /invalid page header flags: 0x0002/],
    [
      'a payload that is no block',
      [0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0],
      /decompress block: lz4: invalid source or destination buffer too short/,
    ],
  ];
  for (const [what, bytes, message] of CASES) {
    test(`reject ${what}`, () => {
      assert.throws(
        () => {
          decodePageFrame(Uint8Array.from(bytes), 1, page);
        },
        { code: 'ERR_LTX_CORRUPTED', message },
      );
    });
  }
});
