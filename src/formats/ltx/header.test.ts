import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  CHECKSUM_FLAG,
  decodeHeader,
  encodeHeader,
  formatPos,
  isSnapshot,
  LTX_HEADER_SIZE,
  pageChecksum,
  parsePos,
  rollChecksum,
  EMPTY_CHECKSUM,
  toTxid,
  validateHeader,
  type LtxHeader,
} from './index.ts';
import { fill, makeHeader } from './test-data.ts';

/** The 13 rules of the reference that a decoded header can break, and ours. */
const BROKEN: readonly (readonly [string, Partial<LtxHeader>, string])[] = [
  ['an unknown flag', { flags: 1 }, 'invalid flags: 0x00000001'],
  ['a flag beside NoChecksum', { flags: 0x80000002 }, 'invalid flags: 0x80000002'],
  ['page size 0', { pageSize: 0 }, 'invalid page size: 0'],
  ['page size 1000', { pageSize: 1000 }, 'invalid page size: 1000'],
  ['page size 256', { pageSize: 256 }, 'invalid page size: 256'],
  ['page size 131072', { pageSize: 131072 }, 'invalid page size: 131072'],
  ['minimum TXID 0', { minTxid: toTxid(0) }, 'minimum transaction id required'],
  ['maximum TXID 0', { maxTxid: toTxid(0) }, 'maximum transaction id required'],
  ['crossed TXIDs', { minTxid: toTxid(20) }, 'transaction ids out of order: (20,2)'],
  ['a negative WAL offset', { walOffset: -1 }, 'wal offset cannot be negative: -1'],
  ['a negative WAL size', { walSize: -7 }, 'wal size cannot be negative: -7'],
  ['a salt without offset', { walOffset: 0, walSize: 0 }, 'wal offset required if salt exists'],
  [
    'a WAL size without offset',
    { walOffset: 0, walSalt1: 0, walSalt2: 0 },
    'wal offset required if wal size exists',
  ],
  [
    'a snapshot with a pre-apply checksum',
    { minTxid: toTxid(1), preApplyChecksum: CHECKSUM_FLAG },
    'pre-apply checksum must be zero on snapshots',
  ],
  [
    'a pre-apply checksum with NoChecksum',
    { preApplyChecksum: CHECKSUM_FLAG },
    'pre-apply checksum not allowed',
  ],
  ['no pre-apply checksum', { flags: 0 }, 'pre-apply checksum required on non-snapshot files'],
  [
    'a pre-apply checksum without bit 63',
    { flags: 0, preApplyChecksum: 1n },
    'invalid pre-apply checksum format',
  ],
  ['a timestamp that is no date', { timestampMs: 8.64e15 + 1 }, 'invalid timestamp: '],
];

describe('LTX header', () => {
  test('what is encoded decodes to the same', () => {
    const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
    const u64 = fc.bigInt({ min: 1n, max: 0xffff_ffff_ffff_ffffn });
    fc.assert(
      fc.property(
        fc.record({
          pageSize: fc.constantFrom(512, 1024, 2048, 4096, 8192, 16384, 32768, 65536),
          commit: u32,
          txids: fc.tuple(u64, u64),
          timestampMs: fc.integer({ min: -8.64e15, max: 8.64e15 }),
          checksum: fc.option(u64),
          walOffset: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
          walSize: fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
          walSalt1: u32,
          walSalt2: u32,
          nodeId: u64,
        }),
        ({ txids: [a, b], checksum, ...rest }) => {
          const minTxid = toTxid(a < b ? a : b);
          const tracked = checksum !== null && minTxid !== 1n;
          const header: LtxHeader = {
            ...rest,
            flags: tracked ? 0 : 2,
            minTxid,
            maxTxid: toTxid(a < b ? b : a),
            preApplyChecksum: tracked ? checksum | CHECKSUM_FLAG : 0n,
          };
          assert.deepEqual(decodeHeader(encodeHeader(header)), header);
        },
      ),
    );
  });

  for (const [what, change, text] of BROKEN) {
    test(`rejects ${what}`, () => {
      const header = makeHeader(change);
      const expected = (error: unknown): boolean => {
        const { code, message, details } = error as {
          code: string;
          message: string;
          details: object;
        };
        assert.equal(code, 'ERR_LTX_HEADER');
        assert.ok(message.startsWith(text), message);
        assert.deepEqual(Object.keys(details), ['field', 'offset', 'expected', 'found']);
        return true;
      };
      assert.throws(() => {
        validateHeader(header);
      }, expected);
      assert.throws(() => encodeHeader(header), expected);
    });
  }

  test('the first broken rule wins', () => {
    const header = makeHeader({ flags: 1, pageSize: 1, minTxid: toTxid(0) });
    assert.throws(() => encodeHeader(header), /^LitestreamError: invalid flags/);
  });

  test('names the field, its offset, what was expected and what was found', () => {
    const bytes = encodeHeader(makeHeader());
    bytes[11] = 1;
    assert.throws(() => decodeHeader(bytes), {
      message:
        'invalid page size: 513 (pageSize at byte 8: expected a power of two from 512 to 65536, found 513)',
    });
  });

  test('rejects another magic', () => {
    const bytes = encodeHeader(makeHeader());
    bytes[3] = 0x32;
    assert.throws(() => decodeHeader(bytes), {
      code: 'ERR_LTX_HEADER',
      message: /^unmarshal header: invalid LTX file /,
    });
  });

  test('names the end of the file when bytes are missing', () => {
    assert.throws(() => decodeHeader(new Uint8Array(0)), /LitestreamError: EOF /);
    assert.throws(() => decodeHeader(new Uint8Array(99)), /LitestreamError: unexpected EOF /);
  });

  test('ignores the reserved bytes and what follows the header', () => {
    const bytes = new Uint8Array(LTX_HEADER_SIZE + 10).fill(0xff);
    bytes.set(encodeHeader(makeHeader()).subarray(0, 80));
    assert.deepEqual(decodeHeader(bytes), makeHeader());
  });

  test('reads from any position of a buffer', () => {
    const bytes = new Uint8Array(LTX_HEADER_SIZE + 3);
    bytes.set(encodeHeader(makeHeader()), 3);
    assert.deepEqual(decodeHeader(bytes.subarray(3)), makeHeader());
  });

  test('only a file that starts at transaction 1 is a snapshot', () => {
    assert.equal(isSnapshot({ minTxid: toTxid(1) }), true);
    assert.equal(isSnapshot({ minTxid: toTxid(2) }), false);
  });
});

describe('database checksums', () => {
  test('page checksums have the reference values', () => {
    const cases: readonly (readonly [number, Uint8Array, bigint])[] = [
      [1, fill(0x31), 0xeb1a999231044dddn],
      [2, fill(0x31), 0xebc8854231044dddn],
      [2, fill(0x32), 0xc637667102377eeen],
      [1, fill(0), 0xefb1f44fecd99000n],
      [1, fill(0, 4096), 0xd9328f592d9e733dn],
      [1, fill(0x33), 0xcdb0244fecd99000n],
    ];
    for (const [pgno, data, expected] of cases) assert.equal(pageChecksum(pgno, data), expected);
  });

  test('the rolling checksum has the reference values in any order', () => {
    const one = pageChecksum(1, fill(0x31));
    const second = pageChecksum(2, fill(0x32));
    assert.equal(rollChecksum(EMPTY_CHECKSUM, one, second), 0xad2dffe333333333n);
    assert.equal(rollChecksum(EMPTY_CHECKSUM, second, one), 0xad2dffe333333333n);
    const three = [1, 2, 3].map((pgno) => pageChecksum(pgno, fill(pgno)));
    assert.equal(rollChecksum(EMPTY_CHECKSUM, ...three), 0xefffffffecd99000n);
  });

  test('a changed page is replaced by rolling the old one out', () => {
    const before = rollChecksum(EMPTY_CHECKSUM, pageChecksum(1, fill(1)), pageChecksum(2, fill(2)));
    const after = rollChecksum(before, pageChecksum(2, fill(2)), pageChecksum(2, fill(3)));
    const fresh = rollChecksum(EMPTY_CHECKSUM, pageChecksum(1, fill(1)), pageChecksum(2, fill(3)));
    assert.equal(after, fresh);
  });
});

describe('positions', () => {
  test('have 33 characters and parse to the same', () => {
    const pos = { txid: toTxid(0xabcn), postApplyChecksum: 0xad2dffe333333333n };
    assert.equal(formatPos(pos), '0000000000000abc/ad2dffe333333333');
    assert.deepEqual(parsePos('0000000000000ABC/ad2dffe333333333'), pos);
  });

  test('are rejected with the texts of the reference', () => {
    assert.throws(() => parsePos('1/2'), /invalid formatted position length: "1\/2"/);
    assert.throws(
      () => parsePos('000000000000000x/ad2dffe333333333'),
      /invalid transaction id format: "000000000000000x"/,
    );
    assert.throws(
      () => parsePos('0000000000000001/xd2dffe333333333'),
      /invalid checksum format: "xd2dffe333333333"/,
    );
  });
});
