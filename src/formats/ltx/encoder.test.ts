import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { lockPgno } from '../../lib/page.ts';
import {
  CHECKSUM_FLAG,
  decodeLtxFile,
  encodeLtxFile,
  LtxEncoder,
  missingPage,
  orderViolation,
  toTxid,
  verifyLtxFile,
  type LtxHeader,
} from './index.ts';
import { fill, makeContent, makeHeader, makeSnapshot, noisePage } from './test-data.ts';

const SLOW = process.env['SLOW'] === '1';

function encoder(change: Partial<LtxHeader> = {}): LtxEncoder {
  const made = new LtxEncoder(() => undefined);
  made.encodeHeader(makeHeader(change));
  return made;
}

function rejects(run: () => unknown, message: string): void {
  assert.throws(run, { code: 'ERR_LTX_ENCODE', message });
}

const snapshot = { minTxid: toTxid(1), maxTxid: toTxid(1) };

describe('LTX encoder', () => {
  test('any set of pages decodes to the same, in both payload kinds', () => {
    const pages = fc.uniqueArray(fc.integer({ min: 1, max: 3000 }), { maxLength: 20 });
    fc.assert(
      fc.property(
        pages,
        fc.constantFrom(512, 1024, 4096, 65536),
        fc.constantFrom('block' as const, 'frame' as const),
        (pgnos, pageSize, payload) => {
          const list = pgnos
            .toSorted((a, b) => a - b)
            .map((pgno) => ({
              pgno,
              data: pgno % 2 === 0 ? fill(pgno, pageSize) : noisePage(pgno, pageSize),
            }));
          const content = makeContent(list, { pageSize, commit: 3000 });
          const bytes = encodeLtxFile(content, { payload });
          const file = decodeLtxFile(bytes);
          assert.deepEqual(file.header, content.header);
          assert.deepEqual(file.pages, list);
          assert.equal(file.size, bytes.length);
        },
      ),
      { numRuns: SLOW ? 1000 : 60 },
    );
  });

  for (const pageSize of [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536]) {
    test(`an incompressible page of ${pageSize} bytes decodes to the same`, () => {
      const pages = [{ pgno: 7, data: noisePage(7, pageSize) }];
      for (const payload of ['block', 'frame'] as const) {
        const bytes = encodeLtxFile(makeContent(pages, { pageSize }), { payload });
        assert.deepEqual(decodeLtxFile(bytes).pages, pages);
      }
    });
  }

  test('the summary equals what is read back', () => {
    const pieces: Uint8Array[] = [];
    const made = new LtxEncoder(
      (piece) => {
        pieces.push(piece.slice());
      },
      { keepIndex: true },
    );
    const { header, pages } = makeSnapshot(5);
    made.encodeHeader(header);
    for (const { pgno, data } of pages) made.encodePage(pgno, data);
    const summary = made.close();
    assert.deepEqual(summary, verifyLtxFile(Buffer.concat(pieces), { keepIndex: true }));
    assert.equal(made.close(), summary);
  });

  test('a file without pages has 131 bytes', () => {
    assert.equal(encodeLtxFile(makeContent([])).length, 131);
  });

  test('calls in the wrong state are refused with the texts of the reference', () => {
    const fresh = new LtxEncoder(() => undefined);
    rejects(() => {
      fresh.encodePage(1, fill(1));
    }, 'cannot encode page header, expected header');
    rejects(() => fresh.close(), 'cannot close, expected header');
    fresh.encodeHeader(makeHeader());
    rejects(() => {
      fresh.encodeHeader(makeHeader());
    }, 'cannot encode header frame, expected page');
    fresh.close();
    rejects(() => {
      fresh.encodeHeader(makeHeader());
    }, 'ltx encoder closed');
    rejects(() => {
      fresh.encodePage(1, fill(1));
    }, 'ltx encoder closed');
  });

  const lock = lockPgno(65536);
  const large = { pageSize: 65536, commit: 20000 };
  const PAGES: readonly (readonly [string, Partial<LtxHeader>, readonly number[], string])[] = [
    ['a page above Commit', {}, [301], 'page number 301 out-of-bounds for commit size 300'],
    ['page 0', {}, [0], 'page number required'],
    ['the lock page', large, [lock], `cannot encode lock page: pgno=${lock}`],
    ['a repeated page', {}, [4, 4], 'out-of-order page numbers: 4,4'],
    ['a descending page', {}, [4, 3], 'out-of-order page numbers: 4,3'],
    [
      'a snapshot that starts late',
      snapshot,
      [2],
      'snapshot transaction file must start with page number 1',
    ],
    [
      'a gap in a snapshot',
      snapshot,
      [1, 3],
      'nonsequential page numbers in snapshot transaction: 1,3',
    ],
  ];
  for (const [what, change, pgnos, text] of PAGES) {
    test(`refuses ${what}`, () => {
      const made = encoder(change);
      const last = pgnos.at(-1) ?? 0;
      const size = change.pageSize ?? 512;
      for (const pgno of pgnos.slice(0, -1)) made.encodePage(pgno, fill(1, size));
      rejects(() => {
        made.encodePage(last, fill(1, size));
      }, text);
    });
  }

  test('refuses a page of another size', () => {
    rejects(() => {
      encoder().encodePage(1, fill(1, 511));
    }, 'invalid page buffer size: 511, expecting 512');
  });

  test('refuses a snapshot that does not reach its last page', () => {
    const made = encoder({ ...snapshot, commit: 2 });
    made.encodePage(1, fill(1));
    rejects(() => made.close(), 'incomplete snapshot: page 2 is missing, commit size 2');
  });

  test('the page behind the lock page follows directly in a snapshot', () => {
    const header = makeHeader({ ...snapshot, pageSize: 65536, commit: lock + 1 });
    assert.equal(orderViolation(header, lock - 1, lock + 1), undefined);
    assert.equal(
      orderViolation(header, lock - 1, lock + 2),
      `nonsequential page numbers in snapshot transaction (skip lock page): ${lock - 1},${lock + 2}`,
    );
    assert.equal(missingPage(header, lock - 1), lock + 1);
    assert.equal(missingPage(header, lock + 1), undefined);
    assert.equal(missingPage({ ...header, commit: lock }, lock - 1), undefined);
  });

  const CLOSED: readonly (readonly [string, Partial<LtxHeader>, bigint, RegExp])[] = [
    ['a checksum with NoChecksum', {}, CHECKSUM_FLAG, /post-apply checksum not allowed/],
    [
      'no checksum',
      { flags: 0, preApplyChecksum: CHECKSUM_FLAG },
      0n,
      /post-apply checksum required/,
    ],
    [
      'a checksum without bit 63',
      { flags: 0, preApplyChecksum: CHECKSUM_FLAG },
      1n,
      /invalid post-apply checksum format/,
    ],
    [
      'an empty database with a checksum',
      { flags: 0, preApplyChecksum: CHECKSUM_FLAG, commit: 0 },
      CHECKSUM_FLAG | 1n,
      /post-apply checksum must be empty for zero-length database/,
    ],
    [
      'an empty database with NoChecksum',
      { commit: 0 },
      0n,
      /post-apply checksum must be empty for zero-length database/,
    ],
  ];
  for (const [what, change, checksum, message] of CLOSED) {
    test(`refuses to close with ${what}`, () => {
      assert.throws(() => encoder(change).close(checksum), { code: 'ERR_LTX_ENCODE', message });
    });
  }

  test('an error of the sink reaches the caller', () => {
    const made = new LtxEncoder(() => {
      throw new Error('disk full');
    });
    assert.throws(() => {
      made.encodeHeader(makeHeader());
    }, /disk full/);
  });
});
