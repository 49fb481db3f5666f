import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { Crc64, encodeLz4Frame } from '../../kernels/index.ts';
import { errorMessage } from '../../lib/errors.ts';
import { lockPgno } from '../../lib/page.ts';
import {
  CHECKSUM_FLAG,
  decodeLtxFile,
  encodeHeader,
  encodeLtxFile,
  encodePageIndex,
  encodeTrailer,
  FrameTable,
  LtxDecoder,
  pageChecksum,
  putPageHeader,
  rollChecksum,
  EMPTY_CHECKSUM,
  toTxid,
  verifyLtxFile,
  type LtxFile,
  type LtxHeader,
} from './index.ts';
import { fill, makeContent, makeHeader, makeSnapshot, noisePage } from './test-data.ts';

const SLOW = process.env['SLOW'] === '1';
const VECTORS = join(import.meta.dirname, '../../../test/vectors/ltx');

function vector(name: string): Uint8Array {
  return new Uint8Array(readFileSync(join(VECTORS, `${name}.ltx`)));
}

function caught(run: () => unknown): { code: string; message: string; details: object } {
  try {
    run();
  } catch (error) {
    return error as { code: string; message: string; details: object };
  }
  return assert.fail('nothing was thrown');
}

/** Decodes pieces cut at `cuts`. */
function decodeInPieces(bytes: Uint8Array, cuts: readonly number[]): LtxFile {
  const pages: { pgno: number; data: Uint8Array }[] = [];
  const decoder = new LtxDecoder({
    onPage: (pgno, data) => {
      pages.push({ pgno, data: data.slice() });
    },
  });
  let at = 0;
  for (const cut of [...cuts, bytes.length]) {
    // A copy, overwritten afterwards: the decoder may not keep what it was given.
    const piece = bytes.slice(at, cut);
    decoder.write(piece);
    piece.fill(0xee);
    at = cut;
  }
  return { ...decoder.end(), pages };
}

/** A file whose checksum is right, whatever its parts say. */
interface Forgery {
  readonly header?: Partial<LtxHeader>;
  /** Page numbers and data; payload literal. */
  readonly pages: readonly (readonly [number, Uint8Array])[];
  readonly index?: Uint8Array;
  readonly postApplyChecksum?: bigint;
  readonly frames?: boolean;
}

function literalBlock(data: Uint8Array): number[] {
  const rest = data.length - 15;
  return [0xf0, ...Array<number>(Math.floor(rest / 255)).fill(255), rest % 255, ...data];
}

function forge({ header = {}, pages, index, postApplyChecksum = 0n, frames }: Forgery): Uint8Array {
  const crc = new Crc64();
  const out: number[] = [];
  const hashed = (bytes: Iterable<number>): void => {
    const list = Uint8Array.from(bytes);
    crc.update(list);
    for (const byte of list) out.push(byte);
  };
  hashed(encodeHeader(makeHeader(header)));
  const table = new FrameTable();
  for (const [pgno, data] of pages) {
    const start = out.length;
    const pageHeader = new Uint8Array(6);
    putPageHeader(pageHeader, 0, pgno, frames === true ? 0 : 1);
    hashed(pageHeader);
    const payload = frames === true ? [...encodeLz4Frame(data)] : literalBlock(data);
    if (frames !== true) hashed([0, 0, payload.length >>> 8, payload.length & 255]);
    out.push(...payload);
    crc.update(data);
    table.push(pgno, out.length - start);
  }
  hashed(new Uint8Array(6));
  hashed(index ?? encodePageIndex(table));
  const trailer = encodeTrailer({ postApplyChecksum, fileChecksum: 0n }).subarray(0, 8);
  crc.update(trailer);
  out.push(...encodeTrailer({ postApplyChecksum, fileChecksum: CHECKSUM_FLAG | crc.digest() }));
  return Uint8Array.from(out);
}

describe('LTX decoder, cut files', () => {
  const a = vector('a');
  const texts: readonly (readonly [number, number, string])[] = [
    [0, 0, 'decode header: EOF'],
    [1, 99, 'decode header: unexpected EOF'],
    [100, 100, 'close reader: cannot close, expected page'],
    [101, 105, 'decode page 0: unexpected EOF'],
    [106, 106, 'decode page 0: read data size: EOF'],
    [107, 109, 'decode page 0: read data size: unexpected EOF'],
    [110, 110, 'decode page 0: read compressed data: EOF'],
    [111, 133, 'decode page 0: read compressed data: unexpected EOF'],
    [134, 134, 'close reader: cannot close, expected page'],
    [135, 139, 'decode page 1: unexpected EOF'],
    [140, 147, 'close reader: unexpected EOF'],
    [148, 151, 'close reader: read page index: read page index size: unexpected EOF'],
    [152, 152, 'close reader: EOF'],
    [153, 167, 'close reader: unexpected EOF'],
  ];

  test('I3: every cut of a file with a block has the text of the reference', () => {
    for (const [from, to, text] of texts) {
      for (let size = from; size <= to; size++) {
        const { code, message, details } = caught(() => verifyLtxFile(a.subarray(0, size)));
        assert.equal(code, 'ERR_LTX_CORRUPTED');
        assert.ok(message.startsWith(`${text} (`), `${size}: ${message}`);
        assert.deepEqual(Object.keys(details), ['field', 'offset', 'expected', 'found']);
      }
    }
    assert.equal(verifyLtxFile(a).size, 168);
  });

  test('I3: every cut of a file with an LZ4 frame is reported as a cut', () => {
    const bytes = vector('a-frame');
    for (let size = 0; size < bytes.length; size++) {
      const { code, message } = caught(() => verifyLtxFile(bytes.subarray(0, size)));
      assert.equal(code, 'ERR_LTX_CORRUPTED');
      assert.match(message, /EOF|cannot close, expected page/, `${size}`);
    }
  });

  test('every cut of a longer index is reported as a cut', () => {
    const bytes = vector('b');
    const found = new Set<string>();
    for (let size = 429; size < bytes.length; size++) {
      found.add(caught(() => verifyLtxFile(bytes.subarray(0, size))).message.split(' (')[0] ?? '');
    }
    assert.deepEqual(
      [...found],
      [
        'close reader: unexpected EOF',
        'close reader: read page index: read page index size: unexpected EOF',
        'close reader: read page index: read page index pgno: EOF',
        'close reader: read page index: read page index size: EOF',
        'close reader: EOF',
      ],
    );
  });
});

describe('LTX decoder, damaged files', () => {
  for (const name of ['a', 'a-frame', 'b', 'c', 'd-compacted', 'deletion']) {
    test(`I1: every flipped bit of ${name} is noticed or changes nothing`, () => {
      const bytes = vector(name);
      const whole = decodeLtxFile(bytes);
      let noticed = 0;
      for (let bit = 0; bit < bytes.length * 8; bit++) {
        const changed = bytes.slice();
        changed[bit >>> 3] = (changed[bit >>> 3] ?? 0) ^ (1 << (bit & 7));
        try {
          assert.deepEqual(decodeLtxFile(changed), whole, `bit ${bit}`);
        } catch (error) {
          const { code } = error as { code: string };
          assert.match(code, /^ERR_LTX_(HEADER|CORRUPTED)$/, `bit ${bit}: ${errorMessage(error)}`);
          noticed++;
        }
      }
      assert.ok(noticed > bytes.length * 8 * 0.9, `${noticed} of ${bytes.length * 8}`);
    });
  }

  const a = vector('a');
  const changed = (at: number, value: number): Uint8Array => {
    const bytes = a.slice();
    bytes[at] = value;
    return bytes;
  };
  const DAMAGE: readonly (readonly [string, Uint8Array, string])[] = [
    ['one byte appended', Uint8Array.of(...a, 0), 'close reader: file checksum mismatch'],
    ['a file appended', Uint8Array.of(...a, ...a), 'close reader: file checksum mismatch'],
    ['the magic changed', changed(3, 0x32), 'decode header: unmarshal header: invalid LTX file'],
    ['a reserved byte changed', changed(90, 1), 'close reader: file checksum mismatch'],
    ['the file checksum changed', changed(167, 0), 'close reader: file checksum mismatch'],
    ['the index changed', changed(141, 0x65), 'close reader: file checksum mismatch'],
    ['the index size changed', changed(151, 5), 'close reader: file checksum mismatch'],
    ['header flag 1 set', changed(7, 1), 'decode header: invalid flags: 0x00000001'],
    ['page flag 2 set', changed(105, 2), 'decode page 0: invalid page header flags: 0x0002'],
    ['the page number cleared', changed(103, 0), 'decode page 0: page number required'],
    [
      'an invalid block',
      changed(112, 9),
      'decode page 0: decompress block: lz4: invalid source or destination buffer too short',
    ],
    [
      'a payload size of 4 GiB',
      changed(106, 0xff),
      'decode page 0: read compressed data: invalid payload size',
    ],
  ];
  for (const [what, bytes, text] of DAMAGE) {
    test(`${what}: the error has the text of the reference`, () => {
      const { message } = caught(() => verifyLtxFile(bytes));
      assert.ok(message.startsWith(text), message);
    });
  }
});

describe('LTX decoder, files that are wrong by intent', () => {
  const snapshot = { minTxid: toTxid(1), maxTxid: toTxid(1), commit: 3 };
  const tracked = { flags: 0, ...snapshot };
  const one = fill(1);
  const lock = lockPgno(65536);
  const frame = 6 + 4 + 3 + 512;
  const indexOf = (...entries: readonly (readonly [number, number, number])[]): Uint8Array => {
    const table = new FrameTable();
    for (const [pgno, , size] of entries) table.push(pgno, size);
    return encodePageIndex(table);
  };
  const padded = (bytes: Uint8Array): Uint8Array => Uint8Array.of(...bytes, 0);
  const wrongSize = indexOf([1, 100, frame]);
  wrongSize[wrongSize.length - 1] = 4;

  const CASES: readonly (readonly [string, Forgery, RegExp])[] = [
    [
      'page order',
      {
        pages: [
          [2, one],
          [1, one],
        ],
      },
      /decode page 1: out-of-order page numbers: 2,1/,
    ],
    [
      'a repeated page',
      {
        pages: [
          [2, one],
          [2, one],
        ],
      },
      /out-of-order page numbers: 2,2/,
    ],
    [
      'a page above Commit',
      { pages: [[301, one]] },
      /page number 301 out-of-bounds for commit size 300/,
    ],
    [
      'the lock page',
      { header: { pageSize: 65536, commit: 20000 }, pages: [[lock, fill(1, 65536)]] },
      new RegExp(`decode page 0: lock page in file: pgno=${lock}`),
    ],
    ['a late snapshot', { header: snapshot, pages: [[2, one]] }, /must start with page number 1/],
    [
      'a gap in a snapshot',
      {
        header: snapshot,
        pages: [
          [1, one],
          [3, one],
        ],
      },
      /nonsequential page numbers in snapshot transaction: 1,3/,
    ],
    [
      'an incomplete snapshot',
      {
        header: snapshot,
        pages: [
          [1, one],
          [2, one],
        ],
      },
      /close reader: incomplete snapshot: page 3 is missing/,
    ],
    ['a short page', { pages: [[1, fill(1, 511)]] }, /decompress block: lz4: invalid source/],
    ['a short page in a frame', { pages: [[1, fill(1, 511)]], frames: true }, /decompress block/],
    [
      'an index of another page',
      { pages: [[1, one]], index: indexOf([2, 100, frame]) },
      /page index disagrees with the page frames .*pgno at byte \d+: expected 1, found 2/,
    ],
    [
      'an index of another size',
      { pages: [[1, one]], index: indexOf([1, 100, frame + 1]) },
      /page index disagrees with the page frames .*size at byte \d+: expected 525, found 526/,
    ],
    [
      'an index with one entry too many',
      { pages: [[1, one]], index: indexOf([1, 100, frame], [2, 0, frame]) },
      /page index disagrees with the page frames .*pgno at byte \d+: expected 0, found 2/,
    ],
    [
      'an index that lacks an entry',
      {
        pages: [
          [1, one],
          [2, one],
        ],
        index: indexOf([1, 100, frame]),
      },
      /page index disagrees with the page frames .*pgno at byte \d+: expected 2, found 0/,
    ],
    ['a wrong index size', { pages: [[1, one]], index: wrongSize }, /invalid page index size/],
    [
      'bytes between index and trailer',
      { pages: [[1, one]], index: padded(indexOf([1, 100, frame])) },
      /data after the trailer/,
    ],
    [
      'a post-apply checksum with NoChecksum',
      { pages: [[1, one]], postApplyChecksum: CHECKSUM_FLAG },
      /post-apply checksum not allowed/,
    ],
    [
      'no post-apply checksum',
      {
        header: tracked,
        pages: [
          [1, one],
          [2, one],
          [3, one],
        ],
      },
      /post-apply checksum required/,
    ],
    [
      'a post-apply checksum without bit 63',
      {
        header: tracked,
        pages: [
          [1, one],
          [2, one],
          [3, one],
        ],
        postApplyChecksum: 5n,
      },
      /invalid post-apply checksum format/,
    ],
    [
      'a wrong post-apply checksum',
      {
        header: tracked,
        pages: [
          [1, one],
          [2, one],
          [3, one],
        ],
        postApplyChecksum: CHECKSUM_FLAG,
      },
      /post-apply checksum in trailer \(8000000000000000\) does not match calculated checksum \([0-9a-f]{16}\)/,
    ],
  ];
  for (const [what, forgery, message] of CASES) {
    test(`rejects ${what}`, () => {
      assert.throws(() => verifyLtxFile(forge(forgery)), { code: 'ERR_LTX_CORRUPTED', message });
    });
  }

  test('the forger itself makes valid files', () => {
    const sums = [1, 2, 3].map((pgno) => pageChecksum(pgno, one));
    const forgery: Forgery = {
      header: tracked,
      pages: [
        [1, one],
        [2, one],
        [3, one],
      ],
      postApplyChecksum: rollChecksum(EMPTY_CHECKSUM, ...sums),
    };
    assert.equal(verifyLtxFile(forge(forgery)).pageCount, 3);
    assert.equal(verifyLtxFile(forge({ pages: [[9, one]], frames: true })).pageCount, 1);
  });
});

describe('LTX decoder, pieces', () => {
  test('byte by byte gives the same as at once', () => {
    for (const name of ['a', 'a-literal', 'a-frame', 'b', 'c', 'd-compacted', 'deletion']) {
      const bytes = vector(name);
      const cuts = Array.from(bytes, (_, at) => at);
      assert.deepEqual(decodeInPieces(bytes, cuts), decodeLtxFile(bytes));
    }
  });

  test('I2: any cuts give the same as at once', () => {
    const block = encodeLtxFile(makeSnapshot(9));
    const frames = encodeLtxFile(makeSnapshot(9), { payload: 'frame' });
    const whole = [decodeLtxFile(block), decodeLtxFile(frames)];
    fc.assert(
      fc.property(
        fc.array(fc.nat(Math.min(block.length, frames.length)), { maxLength: 30 }),
        (cuts) => {
          const sorted = cuts.toSorted((a, b) => a - b);
          assert.deepEqual(decodeInPieces(block, sorted), whole[0]);
          assert.deepEqual(decodeInPieces(frames, sorted), whole[1]);
        },
      ),
      { numRuns: SLOW ? 2000 : 100 },
    );
  });

  test('I2: any cuts of a damaged file give the same error as at once', () => {
    const bytes = encodeLtxFile(makeSnapshot(4));
    fc.assert(
      fc.property(
        fc.nat(bytes.length - 1),
        fc.integer({ min: 1, max: 255 }),
        fc.array(fc.nat(bytes.length), { maxLength: 8 }),
        (at, xor, cuts) => {
          const damaged = bytes.slice();
          damaged[at] = (damaged[at] ?? 0) ^ xor;
          const outcome = (run: () => unknown): unknown => {
            try {
              return run();
            } catch (error) {
              return errorMessage(error);
            }
          };
          const sorted = cuts.toSorted((a, b) => a - b);
          assert.deepEqual(
            outcome(() => decodeInPieces(damaged, sorted)),
            outcome(() => decodeLtxFile(damaged)),
          );
        },
      ),
      { numRuns: SLOW ? 5000 : 300 },
    );
  });

  test('both payload kinds may alternate', () => {
    const pages = [1, 2, 3, 4].map((pgno) => ({ pgno, data: noisePage(pgno) }));
    const block = encodeLtxFile(makeContent(pages));
    const frame = encodeLtxFile(makeContent(pages), { payload: 'frame' });
    const blockIndex = verifyLtxFile(block, { keepIndex: true }).index;
    const frameIndex = verifyLtxFile(frame, { keepIndex: true }).index;
    assert.ok(blockIndex !== undefined && frameIndex !== undefined);
    const crc = new Crc64().update(block.subarray(0, 100));
    const out = [...block.subarray(0, 100)];
    const table = new FrameTable();
    for (const [at, { pgno, data }] of pages.entries()) {
      const [bytes, index] = at % 2 === 0 ? [block, blockIndex] : [frame, frameIndex];
      const start = index.offsetAt(at);
      out.push(...bytes.subarray(start, start + index.sizeAt(at)));
      crc.update(bytes.subarray(start, start + (at % 2 === 0 ? 10 : 6))).update(data);
      table.push(pgno, index.sizeAt(at));
    }
    const tail = Uint8Array.of(...new Uint8Array(6), ...encodePageIndex(table));
    crc.update(tail).update(new Uint8Array(8));
    const fileChecksum = CHECKSUM_FLAG | crc.digest();
    out.push(...tail, ...encodeTrailer({ postApplyChecksum: 0n, fileChecksum }));
    assert.deepEqual(decodeLtxFile(Uint8Array.from(out)).pages, pages);
  });

  test('the header and each frame are reported as they arrive', () => {
    const bytes = vector('b');
    const seen: unknown[] = [];
    const decoder = new LtxDecoder({
      onHeader: (header) => {
        seen.push(header.commit);
      },
      onPage: (pgno, _data, { offset, size }) => {
        seen.push([pgno, offset, size]);
      },
    });
    decoder.write(bytes.subarray(0, 100));
    assert.equal(decoder.header?.commit, 300);
    decoder.write(bytes.subarray(100, 200));
    assert.equal(decoder.pageCount, 1);
    decoder.write(bytes.subarray(200));
    decoder.end();
    assert.deepEqual(seen, [300, [1, 100, 34], [300, 134, 289]]);
  });

  test('the error is thrown again by every later call', () => {
    const decoder = new LtxDecoder();
    const bytes = vector('a').slice();
    bytes[112] = 9;
    const first = caught(() => {
      decoder.write(bytes);
    });
    assert.equal(
      caught(() => {
        decoder.write(bytes);
      }),
      first,
    );
    assert.equal(
      caught(() => decoder.end()),
      first,
    );
  });

  test('an error of a callback reaches the caller and stops the decoder', () => {
    const stop = new Error('stop');
    const decoder = new LtxDecoder({
      onPage: () => {
        throw stop;
      },
    });
    assert.throws(() => {
      decoder.write(vector('a'));
    }, stop);
    assert.throws(() => decoder.end(), /ltx decoder stopped: stop/);
  });

  test('nothing can be added after the end', () => {
    const decoder = new LtxDecoder();
    decoder.write(vector('a'));
    const summary = decoder.end();
    assert.equal(decoder.end(), summary);
    assert.throws(() => {
      decoder.write(new Uint8Array(1));
    }, /ltx decoder closed/);
  });
});
