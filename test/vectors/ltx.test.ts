/** Files of the reference LTX library. Spec: formats 3. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import {
  decodeLtxFile,
  decodePageFrame,
  decodePageIndex,
  encodeHeader,
  encodeLtxFile,
  LTX_HEADER_SIZE,
  locatePageIndex,
  toTxid,
  verifyLtxFile,
  type LtxHeader,
} from '../../src/formats/ltx/index.ts';

function read(name: string): Uint8Array {
  return new Uint8Array(readFileSync(join(import.meta.dirname, 'ltx', `${name}.ltx`)));
}

const ones = new Uint8Array(512).fill(0x31);
const twos = new Uint8Array(512).fill(0x32);
const ramp = Uint8Array.from({ length: 512 }, (_, index) => index % 256);
const salts = { walSalt1: 0x11223344, walSalt2: 0x55667788 };
const noWal = { walOffset: 0, walSize: 0, walSalt1: 0, walSalt2: 0 };

const base: LtxHeader = {
  flags: 2,
  pageSize: 512,
  commit: 1,
  minTxid: toTxid(1),
  maxTxid: toTxid(1),
  timestampMs: 1735689600123,
  preApplyChecksum: 0n,
  walOffset: 32,
  walSize: 536,
  ...salts,
  nodeId: 0n,
};

interface Vector {
  readonly name: string;
  readonly header: LtxHeader;
  readonly pages: readonly (readonly [number, Uint8Array])[];
  readonly postApplyChecksum?: bigint;
  readonly fileChecksum: bigint;
  readonly size: number;
  /** [pgno, offset, size] */
  readonly index: readonly (readonly [number, number, number])[];
}

const two = { minTxid: toTxid(2), maxTxid: toTxid(2), timestampMs: 1735689601000 };

const VECTORS: readonly Vector[] = [
  {
    name: 'a',
    header: base,
    pages: [[1, ones]],
    fileChecksum: 0xb99cf10eb36645b6n,
    size: 168,
    index: [[1, 100, 34]],
  },
  {
    name: 'a-literal',
    header: base,
    pages: [[1, ones]],
    fileChecksum: 0x9aba383870b09cf4n,
    size: 660,
    index: [[1, 100, 525]],
  },
  {
    name: 'a-frame',
    header: base,
    pages: [[1, ones]],
    fileChecksum: 0x8358af66a2e7c4fbn,
    size: 183,
    index: [[1, 100, 49]],
  },
  {
    name: 'b',
    header: { ...base, ...two, commit: 300, walOffset: 568, walSize: 1072 },
    pages: [
      [1, twos],
      [300, ramp],
    ],
    fileChecksum: 0xd8faa8601f22ff19n,
    size: 463,
    index: [
      [1, 100, 34],
      [300, 134, 289],
    ],
  },
  {
    name: 'c',
    header: { ...base, ...noWal, flags: 0, commit: 2, timestampMs: 1000 },
    pages: [
      [1, ones],
      [2, twos],
    ],
    postApplyChecksum: 0xad2dffe333333333n,
    fileChecksum: 0xde05f3392fd265cen,
    size: 206,
    index: [
      [1, 100, 34],
      [2, 134, 34],
    ],
  },
  {
    name: 'deletion',
    header: {
      ...base,
      ...noWal,
      flags: 0,
      commit: 0,
      minTxid: toTxid(3),
      maxTxid: toTxid(3),
      timestampMs: 1000,
      preApplyChecksum: 0xad2dffe333333333n,
    },
    pages: [],
    postApplyChecksum: 0x8000000000000000n,
    fileChecksum: 0xeb6f1a85406fd816n,
    size: 131,
    index: [],
  },
  {
    name: 'f',
    header: { ...base, ...two, commit: 2, walOffset: 568, walSize: 1072 },
    pages: [[2, twos]],
    fileChecksum: 0x8a90d65bf380b23fn,
    size: 168,
    index: [[2, 100, 34]],
  },
  {
    name: 'd-compacted',
    header: { ...base, ...noWal, commit: 2, maxTxid: toTxid(2), timestampMs: 1735689601000 },
    pages: [
      [1, ones],
      [2, twos],
    ],
    fileChecksum: 0xfe70b2d647e08e84n,
    size: 206,
    index: [
      [1, 100, 34],
      [2, 134, 34],
    ],
  },
];

describe('files of the reference LTX library', () => {
  for (const vector of VECTORS) {
    const { name, header, pages, fileChecksum, size, index, postApplyChecksum = 0n } = vector;
    const bytes = read(name);

    test(`${name}: every field and page decodes`, () => {
      const file = decodeLtxFile(bytes);
      assert.deepEqual(file.header, header);
      assert.deepEqual(
        file.pages.map((page) => [page.pgno, page.data]),
        pages,
      );
      assert.deepEqual(file.trailer, { postApplyChecksum, fileChecksum });
      assert.equal(file.pageCount, pages.length);
      assert.equal(file.size, size);
    });

    test(`${name}: the header is encoded byte for byte`, () => {
      assert.deepEqual(encodeHeader(header), bytes.subarray(0, LTX_HEADER_SIZE));
    });

    test(`${name}: the index is found from the tail and leads to each page`, () => {
      const location = locatePageIndex(bytes.subarray(-24), bytes.length);
      const end = location.offset + location.length;
      const found = decodePageIndex(bytes.subarray(location.offset, end), location.offset);
      const entries = index.map((_, at) => [found.pgnoAt(at), found.offsetAt(at), found.sizeAt(at)]);
      assert.equal(found.length, index.length);
      assert.deepEqual(entries, index);
      assert.deepEqual(verifyLtxFile(bytes, { keepIndex: true }).index, found);
      for (const [pgno, data] of pages) {
        const at = found.find(pgno);
        const offset = found.offsetAt(at);
        const page = new Uint8Array(512);
        decodePageFrame(bytes.subarray(offset, offset + found.sizeAt(at)), pgno, page);
        assert.deepEqual(page, data);
      }
    });
  }

  test('a-literal is encoded byte for byte', () => {
    const literal = (source: Uint8Array, target: Uint8Array): number => {
      target.set([0xf0, 0xff, 0xf2]);
      target.set(source, 3);
      return source.length + 3;
    };
    const content = { header: base, pages: [{ pgno: 1, data: ones }] };
    assert.deepEqual(encodeLtxFile(content, { compress: literal }), read('a-literal'));
  });

  test('the deletion file is encoded byte for byte', () => {
    const { header } = decodeLtxFile(read('deletion'));
    const content = { header, pages: [], postApplyChecksum: 0x8000000000000000n };
    assert.deepEqual(encodeLtxFile(content), read('deletion'));
  });

  for (const [name, size] of [
    ['incompressible-512-frame', 512],
    ['incompressible-64k-frame', 65536],
  ] as const) {
    test(`${name}: a stored block is encoded byte for byte`, () => {
      const bytes = read(name);
      const { header, pages } = decodeLtxFile(bytes);
      assert.equal(pages[0]?.data.length, size);
      assert.deepEqual(encodeLtxFile({ header, pages }, { payload: 'frame' }), bytes);
    });
  }

  test('f-unchained: a growth by one page decodes', () => {
    const { header, pages } = decodeLtxFile(read('f-unchained'));
    assert.equal(header.commit, 3);
    assert.equal(header.timestampMs, 1);
    assert.deepEqual(
      pages.map((page) => page.pgno),
      [3],
    );
  });

  test('a file of format 1 is rejected with the text of the reference', () => {
    const bytes = new Uint8Array(12420);
    const view = new DataView(bytes.buffer);
    bytes.set(new TextEncoder().encode('LTX1'));
    view.setUint32(8, 4096);
    view.setUint32(12, 10);
    view.setBigUint64(16, 13n);
    view.setBigUint64(24, 13n);
    view.setBigUint64(40, 0x9c74a15b4e4f246cn);
    view.setUint32(100, 1);
    bytes.set(new TextEncoder().encode('SQLite format 3'), 104);
    assert.throws(() => verifyLtxFile(bytes), {
      code: 'ERR_LTX_CORRUPTED',
      message: /^decode page 0: invalid page header flags: 0x5351 /,
    });
  });
});
