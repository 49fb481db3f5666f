import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  buildWal,
  createFrameScan,
  encodeWalHeader,
  hasDatabaseMagic,
  parseDatabaseHeader,
  parseWalFrame,
  parseWalHeader,
  patchFollowedPage,
  scanFrames,
  WAL_FRAME_HEADER_SIZE,
  WAL_HEADER_SIZE,
  walSize,
  type FrameScan,
  type WalFrameContent,
  type WalHeader,
  type WalHeaderFields,
} from './index.ts';

function page(byte: number, size = 512): Uint8Array {
  return new Uint8Array(size).fill(byte);
}

const FIELDS: WalHeaderFields = {
  bigEndian: false,
  pageSize: 512,
  sequence: 0,
  salt1: 0x11223344,
  salt2: 0x55667788,
};

/** pgno:commit pairs to frames with distinct content. */
function frames(list: readonly (readonly [number, number])[], size = 512): WalFrameContent[] {
  return list.map(([pgno, commit], at) => ({ pgno, commit, data: page(at + 1, size) }));
}

function headerOf(wal: Uint8Array): WalHeader {
  const result = parseWalHeader(wal);
  assert.equal(result.kind, 'ok');
  return (result as { header: WalHeader }).header;
}

/** A window over the frames of `wal` from `offset` on, in memory of its own. */
function windowOf(wal: Uint8Array, offset: number, end = wal.length): [Int32Array, number] {
  const length = Math.max(0, end - offset);
  const memory = new Uint8Array((length + 7) & ~7);
  memory.set(wal.subarray(offset, end));
  return [new Int32Array(memory.buffer), length];
}

/** A scan of `wal` from its first frame, ready to run. */
function scanOf(header: WalHeader, capacity = 1024): FrameScan {
  const scan = createFrameScan(capacity);
  scan.salt1 = header.salt1;
  scan.salt2 = header.salt2;
  scan.bigEndian = header.bigEndian;
  scan.pageSize = header.pageSize;
  scan.pair[0] = header.checksum1;
  scan.pair[1] = header.checksum2;
  return scan;
}

function scanAll(wal: Uint8Array, capacity = 1024): FrameScan {
  const scan = scanOf(headerOf(wal), capacity);
  scanFrames(...windowOf(wal, WAL_HEADER_SIZE), scan);
  return scan;
}

function found(scan: FrameScan): [number, number][] {
  return Array.from({ length: scan.count }, (_, at) => [
    scan.pgnos[at] ?? -1,
    scan.commits[at] ?? -1,
  ]);
}

function hex(...words: readonly number[]): string {
  return words.map((word) => (word >>> 0).toString(16).padStart(8, '0')).join(' ');
}

describe('WAL header', () => {
  test('has the checksums of the format description in both byte orders', () => {
    const pages = [
      { pgno: 1, commit: 0, data: page(0x31) },
      { pgno: 2, commit: 2, data: page(0x32) },
    ];
    const expected = [
      ['377f0682', '18fe2524 594f631e', '9e50766b 95480450', 'bc4cea98 99b05c09'],
      ['377f0683', '2726fe1b 23664f5c', '81b323cd 14c9d346', '5f20aae4 35d403af'],
    ];
    for (const bigEndian of [false, true]) {
      const wal = buildWal({ ...FIELDS, bigEndian }, pages);
      const view = new DataView(wal.buffer);
      const [magic, ...sums] = expected[bigEndian ? 1 : 0] ?? [];
      assert.equal(hex(view.getUint32(0)), magic);
      const stored = [24, 32 + 16, 32 + 536 + 16].map((at) =>
        hex(view.getUint32(at), view.getUint32(at + 4)),
      );
      assert.deepEqual(stored, sums);
      const scan = scanAll(wal);
      assert.deepEqual(found(scan), [
        [1, 0],
        [2, 2],
      ]);
      assert.equal(hex(scan.commitChecksum1, scan.commitChecksum2), sums[2]);
    }
  });

  test('of a real WAL parses', () => {
    const text = '377f0682002de21800001000000000004875a40ba38de4f5e08b785b8e57dda3';
    const bytes = Uint8Array.from(Buffer.from(text, 'hex'));
    assert.deepEqual(parseWalHeader(bytes), {
      kind: 'ok',
      header: {
        bigEndian: false,
        pageSize: 4096,
        sequence: 0,
        salt1: 0x4875a40b,
        salt2: 0xa38de4f5,
        checksum1: 0xe08b785b,
        checksum2: 0x8e57dda3,
      },
    });
    assert.deepEqual(encodeWalHeader(headerOf(bytes)), bytes);
  });

  test('what is encoded parses to the same', () => {
    const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
    fc.assert(
      fc.property(
        fc.record({
          bigEndian: fc.boolean(),
          pageSize: fc.constantFrom(512, 1024, 2048, 4096, 8192, 16384, 32768, 65536),
          sequence: u32,
          salt1: u32,
          salt2: u32,
        }),
        (fields) => {
          const header = headerOf(encodeWalHeader(fields));
          const { checksum1, checksum2 } = header;
          assert.deepEqual(header, { ...fields, checksum1, checksum2 });
        },
      ),
    );
  });

  test('every failure has its kind', () => {
    const good = encodeWalHeader(FIELDS);
    for (let size = 0; size < 32; size++) {
      assert.equal(parseWalHeader(good.subarray(0, size)).kind, 'short');
    }
    const magic = good.slice();
    magic[3] = 0x84;
    assert.deepEqual(parseWalHeader(magic), {
      kind: 'bad-magic',
      text: 'invalid wal header magic: 377f0684',
      magic: 0x377f0684,
    });
    for (let at = 4; at < 32; at++) {
      const torn = good.slice();
      torn[at] = (torn[at] ?? 0) ^ 0x40;
      assert.equal(parseWalHeader(torn).kind, 'bad-checksum', `byte ${at}`);
    }
    const sizes = encodeWalHeader({ ...FIELDS, pageSize: 1000 });
    assert.equal(parseWalHeader(sizes).kind, 'bad-page-size');
    // Version 3007001, with a right checksum.
    const version = good.slice();
    version.set([0x00, 0x2d, 0xe2, 0x19], 4);
    assert.equal(parseWalHeader(version).kind, 'bad-checksum');
    assert.equal(parseWalHeader(rechecked(version, false)).kind, 'bad-version');
  });
});

/** The header with its checksum made right. */
function rechecked(header: Uint8Array, bigEndian: boolean): Uint8Array {
  const view = new DataView(header.buffer, header.byteOffset, 32);
  let s0 = 0;
  let s1 = 0;
  for (let at = 0; at < 24; at += 8) {
    s0 = (s0 + view.getUint32(at, !bigEndian) + s1) >>> 0;
    s1 = (s1 + view.getUint32(at + 4, !bigEndian) + s0) >>> 0;
  }
  view.setUint32(24, s0);
  view.setUint32(28, s1);
  return header;
}

describe('WAL frames', () => {
  const transactions = frames([
    [1, 0],
    [2, 2],
    [3, 3],
    [2, 0],
    [4, 4],
    [1, 0],
    [5, 0],
  ]);

  test('NODE-09 sizes are exact above 4 GiB', () => {
    assert.equal(walSize(0, 4096), 32);
    assert.equal(walSize(2, 512), 32 + 2 * 536);
    assert.equal(walSize(2 ** 21, 65536), 32 + 2 ** 21 * 65560);
  });

  test('the uncommitted tail is scanned, and the last commit remembered', () => {
    const wal = buildWal(FIELDS, transactions);
    const scan = scanAll(wal);
    assert.equal(scan.count, 7);
    assert.equal(scan.lastCommit, 4);
    assert.deepEqual(
      found(scan),
      transactions.map((frame) => [frame.pgno, frame.commit]),
    );
    const last = parseWalFrame(wal.subarray(walSize(4, 512)));
    assert.deepEqual(
      [scan.commitChecksum1, scan.commitChecksum2],
      [last.checksum1, last.checksum2],
    );
    const end = parseWalFrame(wal.subarray(walSize(6, 512)));
    assert.deepEqual(
      [(scan.pair[0] ?? 0) >>> 0, (scan.pair[1] ?? 0) >>> 0],
      [end.checksum1, end.checksum2],
    );
  });

  test('a scan resumes behind any frame, and behind the last commit', () => {
    for (const bigEndian of [false, true]) {
      const wal = buildWal({ ...FIELDS, bigEndian }, transactions);
      for (let start = 0; start <= transactions.length; start++) {
        const scan = scanOf(headerOf(wal));
        const middle = walSize(start, 512);
        assert.equal(scanFrames(...windowOf(wal, WAL_HEADER_SIZE, middle), scan), start);
        const { lastCommit, commitChecksum1, commitChecksum2 } = scan;
        assert.equal(scanFrames(...windowOf(wal, middle), scan), transactions.length - start);
        if (lastCommit < 0) continue;
        scan.pair[0] = commitChecksum1;
        scan.pair[1] = commitChecksum2;
        const behind = walSize(lastCommit + 1, 512);
        assert.equal(
          scanFrames(...windowOf(wal, behind), scan),
          transactions.length - lastCommit - 1,
        );
      }
    }
  });

  test('a scan stops where the salts change', () => {
    const wal = buildWal(FIELDS, transactions);
    const older = buildWal({ ...FIELDS, salt2: 99 }, transactions);
    wal.set(older.subarray(walSize(3, 512)), walSize(3, 512));
    const scan = scanAll(wal);
    assert.equal(scan.count, 3);
    assert.equal(scan.lastCommit, 2);
    for (const at of [8, 15]) {
      const changed = buildWal(FIELDS, transactions);
      const byte = walSize(5, 512) + at;
      changed[byte] = (changed[byte] ?? 0) ^ 1;
      assert.equal(scanAll(changed).count, 5);
    }
  });

  test('a scan stops at a wrong checksum and can go on there later', () => {
    const good = buildWal(FIELDS, transactions);
    for (const at of [0, 7, 16, 23, 24, 300, 535]) {
      const wal = good.slice();
      const byte = walSize(4, 512) + at;
      wal[byte] = (wal[byte] ?? 0) ^ 0x10;
      const scan = scanAll(wal);
      assert.equal(scan.count, 4, `byte ${at}`);
      assert.equal(scan.lastCommit, 2);
      assert.equal(scanFrames(...windowOf(good, walSize(4, 512)), scan), 3);
    }
  });

  test('a scan stops at page number 0', () => {
    assert.equal(
      scanAll(
        buildWal(
          FIELDS,
          frames([
            [1, 1],
            [0, 0],
            [2, 2],
          ]),
        ),
      ).count,
      1,
    );
  });

  test('CAP-10 every cut leaves the whole frames before it', () => {
    const wal = buildWal(FIELDS, transactions);
    for (let end = walSize(4, 512); end <= wal.length; end++) {
      const scan = scanOf(headerOf(wal));
      const whole = Math.floor((end - WAL_HEADER_SIZE) / 536);
      assert.equal(scanFrames(...windowOf(wal, WAL_HEADER_SIZE, end), scan), whole, `cut ${end}`);
    }
  });

  test('a length beyond the window is not believed', () => {
    const wal = buildWal(FIELDS, transactions);
    const [words] = windowOf(wal, WAL_HEADER_SIZE);
    assert.equal(scanFrames(words, 1e9, scanOf(headerOf(wal))), 7);
  });

  test('the capacity of the scan ends it', () => {
    const scan = scanAll(buildWal(FIELDS, transactions), 4);
    assert.equal(scan.count, 4);
    assert.equal(scan.lastCommit, 2);
  });

  test('a window without frames has no commit', () => {
    const wal = buildWal(FIELDS, []);
    const scan = scanAll(wal);
    assert.deepEqual([scan.count, scan.lastCommit], [0, -1]);
  });

  for (const pageSize of [512, 4096, 65536]) {
    test(`pages of ${pageSize} bytes are scanned in both byte orders`, () => {
      for (const bigEndian of [false, true]) {
        const list = frames(
          [
            [1, 0],
            [16386, 16386],
          ],
          pageSize,
        );
        const scan = scanAll(buildWal({ ...FIELDS, bigEndian, pageSize }, list));
        assert.deepEqual(found(scan), [
          [1, 0],
          [16386, 16386],
        ]);
      }
    });
  }

  test('any division into windows finds the same frames', () => {
    const list = Array.from({ length: 20 }, (_, at): [number, number] => [
      at + 1,
      at % 3 === 2 ? at + 1 : 0,
    ]);
    const wal = buildWal(FIELDS, frames(list));
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 7 }), { maxLength: 20 }), (windows) => {
        const scan = scanOf(headerOf(wal));
        const seen: [number, number][] = [];
        let at = 0;
        for (const size of [...windows, 20]) {
          const end = Math.min(wal.length, walSize(at + size, 512));
          at += scanFrames(...windowOf(wal, walSize(at, 512), end), scan);
          seen.push(...found(scan));
        }
        assert.deepEqual(seen, list);
      }),
    );
  });
});

describe('files written by SQLite', () => {
  for (const pageSize of [512, 4096, 65536]) {
    test(`a WAL with pages of ${pageSize} bytes replays to the database`, () => {
      const folder = mkdtempSync(join(tmpdir(), 'wal-'));
      try {
        const path = join(folder, 'x.db');
        const db = new DatabaseSync(path);
        db.exec(`PRAGMA page_size = ${pageSize}; PRAGMA journal_mode = wal`);
        db.exec('PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)');
        for (let at = 0; at < 20; at++) {
          db.exec(`INSERT INTO t (v) VALUES (randomblob(${pageSize}))`);
        }
        db.exec('DELETE FROM t WHERE id < 5');
        const wal = new Uint8Array(readFileSync(`${path}-wal`));
        const header = headerOf(wal);
        assert.equal(header.pageSize, pageSize);
        const scan = scanAll(wal);
        assert.equal(walSize(scan.count, pageSize), wal.length);
        assert.equal(scan.lastCommit, scan.count - 1);
        const pages = new Map<number, Uint8Array>();
        for (let at = 0; at < scan.count; at++) {
          const start = walSize(at, pageSize) + WAL_FRAME_HEADER_SIZE;
          pages.set(scan.pgnos[at] ?? 0, wal.subarray(start, start + pageSize));
        }
        const count = scan.commits[scan.lastCommit] ?? 0;
        db.exec('PRAGMA wal_checkpoint(TRUNCATE)');
        const image = new Uint8Array(readFileSync(path));
        assert.equal(image.length, count * pageSize);
        for (let pgno = 1; pgno <= count; pgno++) {
          const expected = image.subarray((pgno - 1) * pageSize, pgno * pageSize);
          assert.deepEqual(pages.get(pgno), expected, `page ${pgno}`);
        }
        const database = parseDatabaseHeader(image);
        assert.deepEqual(
          [database?.pageSize, database?.writeVersion, database?.readVersion, database?.pageCount],
          [pageSize, 2, 2, count],
        );
        db.close();
      } finally {
        rmSync(folder, { recursive: true });
      }
    });
  }
});

describe('database header', () => {
  const image = new Uint8Array(100);
  image.set(new TextEncoder().encode('SQLite format 3\0'));
  image.set([0x10, 0x00, 2, 2], 16);
  image.set([0, 0, 0, 7, 0, 0, 1, 0], 24);

  test('is parsed', () => {
    assert.deepEqual(parseDatabaseHeader(image), {
      pageSize: 4096,
      writeVersion: 2,
      readVersion: 2,
      changeCounter: 7,
      pageCount: 256,
    });
    const large = image.slice();
    large.set([0, 1], 16);
    assert.equal(parseDatabaseHeader(large)?.pageSize, 65536);
  });

  test('anything else is no database', () => {
    const invalid = image.slice();
    invalid.set([0x10, 0x01], 16);
    assert.equal(parseDatabaseHeader(invalid), undefined);
    assert.equal(parseDatabaseHeader(image.subarray(0, 99)), undefined);
    assert.equal(parseDatabaseHeader(new Uint8Array(100)), undefined);
    assert.equal(hasDatabaseMagic(image.subarray(0, 16)), true);
    assert.equal(hasDatabaseMagic(image.subarray(0, 15)), false);
  });

  test('a followed page 1 says rollback journal and another change counter', () => {
    const changed = image.slice();
    patchFollowedPage(changed, 0xdeadbeef);
    const header = parseDatabaseHeader(changed);
    assert.deepEqual(
      [header?.writeVersion, header?.readVersion, header?.changeCounter],
      [1, 1, 0xdeadbeef],
    );
    assert.deepEqual(changed.subarray(28), image.subarray(28));
  });
});
