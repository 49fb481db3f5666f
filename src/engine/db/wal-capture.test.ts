import assert from 'node:assert/strict';
import { closeSync, openSync, readFileSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test, type TestContext } from 'node:test';
import {
  buildWal,
  parseWalHeader,
  walSize,
  type WalFrameContent,
} from '../../formats/sqlite/index.ts';
import { PinnedFile } from '../../sqlite/index.ts';
import { tempDir } from '../../../test/support/temp-dir.ts';
import { PageBatch } from './page-batch.ts';
import { WalCapture } from './wal-capture.ts';

const PAGE = 4096;

/** A WAL made by hand. */
interface HandMade {
  readonly path: string;
  readonly capture: WalCapture;
  readonly wal: PinnedFile;
  /** Writes a whole generation from the start; what lies behind it stays. */
  readonly write: (frames: readonly Frame[], salts?: Salts) => void;
}
/** [page, database size if it commits, first byte of the image] */
type Frame = readonly [pgno: number, commit: number, value: number];
interface Salts {
  readonly salt1: number;
  readonly salt2: number;
}
const SALTS: Salts = { salt1: 0x8000_0001, salt2: 7 };
const NEXT_SALTS: Salts = { salt1: 0x8000_0002, salt2: 99 };

function image(value: number, pageSize: number): Uint8Array {
  return new Uint8Array(pageSize).fill(value);
}

function walBytes(frames: readonly Frame[], pageSize: number, salts: Salts): Uint8Array {
  const contents = frames.map(([pgno, commit, value]): WalFrameContent => ({
    pgno,
    commit,
    data: image(value, pageSize),
  }));
  return buildWal({ bigEndian: false, pageSize, sequence: 0, ...salts }, contents);
}

function handMade(t: TestContext, pageSize = PAGE): HandMade {
  const path = join(tempDir(t), 'hand.db-wal');
  writeFileSync(path, '');
  const wal = PinnedFile.open(path);
  t.after(() => wal.close());
  return {
    path,
    wal,
    capture: new WalCapture(wal, pageSize),
    write: (frames, salts = SALTS) => {
      const fd = openSync(path, 'r+');
      writeSync(fd, walBytes(frames, pageSize, salts), 0);
      closeSync(fd);
    },
  };
}

function fail(): never {
  assert.fail('no page is read from the database file');
}

/** First byte of each page in the batch. */
function content(
  batch: PageBatch,
  capture: WalCapture,
  commit = 0xffff_ffff,
): Record<number, number> {
  const reader = capture.reader(fail);
  const page = new Uint8Array(batch.pageSize);
  const found: Record<number, number> = {};
  for (const pgno of batch.sortedPages(commit)) {
    batch.read(pgno, page, reader);
    found[pgno] = page[0] ?? -1;
  }
  return found;
}

test('each capture takes what was committed since the last one', (t) => {
  const { capture, write } = handMade(t);
  const batch = new PageBatch(PAGE);
  write([[1, 1, 10]]);
  assert.deepEqual(capture.capture(batch, false), { kind: 'end', frames: 1 });
  assert.deepEqual(capture.capture(batch, false), { kind: 'end', frames: 0 });
  write([
    [1, 1, 10],
    [2, 0, 20],
    [1, 2, 11],
  ]);
  assert.equal(capture.hasMore(), true);
  assert.deepEqual(capture.capture(batch, false), { kind: 'end', frames: 2 });
  assert.equal(capture.hasMore(), false);
  assert.equal(capture.commit, 2);
  assert.equal(capture.frames, 3);
  assert.equal(capture.position?.offset, walSize(3, PAGE));
  assert.deepEqual(content(batch, capture), { 1: 11, 2: 20 });
});

test('an empty WAL and a half-written header are the end, not an error', (t) => {
  const { capture, path, write } = handMade(t);
  const batch = new PageBatch(PAGE);
  assert.deepEqual(capture.capture(batch, false), { kind: 'end', frames: 0 });
  assert.equal(capture.position, undefined);
  assert.equal(capture.hasMore(), false);
  writeFileSync(path, walBytes([], PAGE, SALTS).fill(0, 24));
  assert.deepEqual(capture.capture(batch, false), { kind: 'end', frames: 0 });
  write([[1, 1, 10]]);
  assert.deepEqual(capture.capture(batch, false), { kind: 'end', frames: 1 });
});

test('CAP-03 a new generation is read from its start', (t) => {
  const { capture, write } = handMade(t);
  const batch = new PageBatch(PAGE);
  write([
    [1, 0, 10],
    [2, 2, 20],
  ]);
  capture.capture(batch, true);
  write([[2, 2, 21]], NEXT_SALTS);
  assert.equal(capture.hasMore(), true);
  assert.deepEqual(capture.capture(batch, true), { kind: 'end', frames: 1 });
  assert.equal(capture.position?.salt1, NEXT_SALTS.salt1);
  assert.equal(capture.frames, 1);
  assert.deepEqual(content(batch, capture), { 1: 10, 2: 21 });
});

test('a new generation is not read while images of the old one are needed', (t) => {
  const { capture, write } = handMade(t);
  const batch = new PageBatch(PAGE);
  write([[1, 1, 10]]);
  capture.capture(batch, false);
  write([[1, 1, 11]], NEXT_SALTS);
  const before = capture.position;
  assert.deepEqual(capture.capture(batch, false), { kind: 'restarted' });
  assert.deepEqual(capture.position, before);
});

test('history that another program overwrote is lost', (t) => {
  const { capture, write } = handMade(t);
  write([
    [1, 1, 10],
    [2, 2, 20],
  ]);
  capture.capture(new PageBatch(PAGE), false);
  write([
    [1, 1, 10],
    [2, 2, 21],
  ]);
  const outcome = capture.capture(new PageBatch(PAGE), false);
  assert.deepEqual(outcome, { kind: 'lost', reason: 'wal overwritten by another process' });
});

test('a WAL that was cut behind our back is lost', (t) => {
  const { capture, path, write } = handMade(t);
  write([
    [1, 1, 10],
    [2, 2, 20],
  ]);
  capture.capture(new PageBatch(PAGE), false);
  truncateSync(path, walSize(1, PAGE));
  assert.equal(capture.capture(new PageBatch(PAGE), false).kind, 'lost');
});

test('another page size is lost', (t) => {
  const { capture, path } = handMade(t);
  writeFileSync(path, walBytes([[1, 1, 1]], 1024, SALTS));
  assert.deepEqual(capture.capture(new PageBatch(PAGE), false), {
    kind: 'lost',
    reason: 'page size changed',
  });
});

test('CAP-10 E4 frames without a commit, with a wrong checksum or other salts do not count', (t) => {
  const { capture, path, write } = handMade(t);
  write([
    [1, 1, 10],
    [2, 0, 20],
  ]);
  const batch = new PageBatch(PAGE);
  assert.deepEqual(capture.capture(batch, false), { kind: 'end', frames: 1 });
  assert.deepEqual(content(batch, capture), { 1: 10 });

  const longer = walBytes(
    [
      [1, 1, 10],
      [2, 2, 20],
    ],
    PAGE,
    SALTS,
  );
  longer[walSize(1, PAGE) + 500] = 99;
  writeFileSync(path, longer);
  assert.deepEqual(capture.capture(batch, false), { kind: 'end', frames: 0 }, 'wrong checksum');

  // What a restart leaves behind the new generation's frames.
  write([
    [1, 1, 10],
    [2, 2, 20],
  ]);
  write([[1, 1, 12]], NEXT_SALTS);
  const fresh = new PageBatch(PAGE);
  assert.deepEqual(capture.capture(fresh, false), { kind: 'end', frames: 1 }, 'other salts');
});

test('CAP-10 E4 a WAL that is cut anywhere in its last frames gives whole transactions', (t) => {
  const frames: Frame[] = [
    [1, 1, 10],
    [2, 2, 20],
    [1, 0, 11],
    [2, 0, 21],
    [3, 3, 30],
  ];
  const pageSize = 512;
  const { capture: whole, path, wal } = handMade(t, pageSize);
  const bytes = walBytes(frames, pageSize, SALTS);
  for (let end = walSize(2, pageSize) - 20; end <= bytes.length; end++) {
    writeFileSync(path, bytes.subarray(0, end));
    const capture = new WalCapture(wal, pageSize);
    const batch = new PageBatch(pageSize);
    capture.capture(batch, false);
    const wanted =
      end < walSize(2, pageSize)
        ? { 1: 10 }
        : end < bytes.length
          ? { 1: 10, 2: 20 }
          : { 1: 11, 2: 21, 3: 30 };
    assert.deepEqual(content(batch, capture), wanted, `cut at byte ${end}`);
    assert.equal(capture.commit, Object.keys(wanted).length);
  }
  assert.equal(whole.position, undefined);
});

test('CAP-10 E4 an open transaction that is rolled back and overwritten leaves no trace', (t) => {
  const { capture, write } = handMade(t);
  const batch = new PageBatch(PAGE);
  const first: Frame = [1, 1, 10];
  write([first, [2, 0, 20], [3, 0, 30]]);
  capture.capture(batch, false);
  // Rolled back: the next transaction begins where the open one did, and is shorter.
  write([first, [4, 4, 40]]);
  assert.equal(capture.hasMore(), true);
  assert.deepEqual(capture.capture(batch, false), { kind: 'end', frames: 1 });
  assert.deepEqual(content(batch, capture), { 1: 10, 4: 40 });
});

test('an open transaction whose end still stands is read again when its start was overwritten', (t) => {
  const { capture, write } = handMade(t);
  const batch = new PageBatch(PAGE);
  const first: Frame = [1, 1, 10];
  write([first, [2, 0, 20], [3, 0, 30], [4, 0, 40]]);
  capture.capture(batch, false);
  write([first, [5, 5, 50]]);
  assert.deepEqual(capture.capture(batch, false), { kind: 'end', frames: 1 });
  assert.deepEqual(content(batch, capture), { 1: 10, 5: 50 });
});

test('an open transaction goes on where it was left', (t) => {
  const { capture, write } = handMade(t);
  const batch = new PageBatch(PAGE);
  const open: Frame[] = [
    [1, 1, 10],
    [2, 0, 20],
  ];
  write(open);
  capture.capture(batch, false);
  write([...open, [3, 0, 30]]);
  assert.deepEqual(capture.capture(batch, false), { kind: 'end', frames: 0 });
  write([...open, [3, 0, 30], [2, 3, 21]]);
  assert.deepEqual(capture.capture(batch, false), { kind: 'end', frames: 3 });
  assert.deepEqual(content(batch, capture), { 1: 10, 2: 21, 3: 30 });
});

for (const gather of [false, true]) {
  const how = gather ? 'gathered' : 'left in the WAL';
  test(`a transaction over several windows is one (images ${how})`, (t) => {
    const { capture, write } = handMade(t, 512);
    const count = 2_500;
    const frames = Array.from({ length: count }, (_, at): Frame => [
      (at % 1_700) + 1,
      at === count - 1 ? 1_700 : 0,
      at % 251,
    ]);
    write(frames);
    const batch = new PageBatch(512);
    const outcomes: unknown[] = [];
    for (let last = ''; last !== 'end';) {
      const outcome = capture.capture(batch, gather);
      outcomes.push(outcome);
      last = outcome.kind;
    }
    assert.deepEqual(outcomes, [
      { kind: 'more', frames: 0 },
      { kind: 'more', frames: 0 },
      { kind: 'end', frames: count },
    ]);
    const expected: Record<number, number> = {};
    for (const [pgno, , value] of frames) expected[pgno] = value;
    assert.deepEqual(content(batch, capture), expected);
  });
}

test('a smaller window stops early', (t) => {
  const { capture, write } = handMade(t);
  write([
    [1, 1, 10],
    [2, 2, 20],
    [3, 3, 30],
  ]);
  const batch = new PageBatch(PAGE);
  assert.deepEqual(capture.capture(batch, false, 2), { kind: 'more', frames: 2 });
  assert.deepEqual(capture.capture(batch, false, 2), { kind: 'end', frames: 1 });
});

for (const pageSize of [512, 65536]) {
  test(`reads what SQLite writes with pages of ${pageSize} bytes`, (t) => {
    const path = join(tempDir(t), 'app.db');
    const db = new DatabaseSync(path);
    t.after(() => db.close());
    db.exec(`PRAGMA page_size = ${pageSize}; PRAGMA journal_mode = wal;
      PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (b BLOB)`);
    const wal = PinnedFile.open(`${path}-wal`);
    t.after(() => wal.close(() => undefined));
    const capture = new WalCapture(wal, pageSize);
    const batch = new PageBatch(pageSize);
    capture.capture(batch, true);
    db.exec(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 150)
      INSERT INTO t SELECT randomblob(${pageSize}) FROM n`);
    let frames = 0;
    for (let more = true; more;) {
      const outcome = capture.capture(batch, true);
      assert.ok(outcome.kind === 'end' || outcome.kind === 'more');
      frames += outcome.frames;
      more = outcome.kind === 'more';
    }
    assert.ok(frames >= 150);
    assert.equal(capture.commit, Number(db.prepare('PRAGMA page_count').get()?.['page_count']));
    db.exec('PRAGMA wal_checkpoint(PASSIVE)');
    const bytes = readFileSync(path);
    const page = new Uint8Array(pageSize);
    for (const pgno of batch.sortedPages(capture.commit)) {
      batch.read(pgno, page, capture.reader(fail));
      assert.deepEqual(Buffer.from(page), bytes.subarray((pgno - 1) * pageSize, pgno * pageSize));
    }
  });
}

test('the header is that of the file', (t) => {
  const { capture, path, write } = handMade(t);
  assert.equal(capture.header(), undefined);
  write([[1, 1, 1]]);
  const parsed = parseWalHeader(readFileSync(path));
  assert.ok(parsed.kind === 'ok');
  assert.deepEqual(capture.header(), parsed.header);
});

const THREE: readonly Frame[] = [
  [1, 1, 10],
  [2, 0, 20],
  [3, 3, 30],
  [1, 3, 11],
];

test('replay stands at the end and holds the pages of the range', async (t) => {
  const { capture, write } = handMade(t);
  write(THREE);
  const batch = new PageBatch(PAGE);
  assert.equal(
    await capture.replay(batch, { ...SALTS, from: walSize(1, PAGE), end: walSize(3, PAGE) }),
    true,
  );
  assert.equal(capture.position?.offset, walSize(3, PAGE));
  assert.deepEqual(content(batch, capture), { 2: 20, 3: 30 });
  assert.deepEqual(
    capture.capture(batch, false),
    { kind: 'end', frames: 1 },
    'capture goes on there',
  );
  assert.deepEqual(content(batch, capture), { 1: 11, 2: 20, 3: 30 });
});

test('replay of an empty range proves the way to it', async (t) => {
  const { capture, write } = handMade(t);
  write(THREE);
  const batch = new PageBatch(PAGE);
  assert.equal(
    await capture.replay(batch, { ...SALTS, from: walSize(3, PAGE), end: walSize(3, PAGE) }),
    true,
  );
  assert.equal(batch.count, 0);
  assert.equal(await capture.replay(batch, { ...SALTS, from: 32, end: 32 }), true);
  assert.equal(capture.position?.offset, 32);
});

const WRONG_ENDS: readonly (readonly [what: string, from: number, end: number])[] = [
  ['an end inside a transaction', 32, walSize(2, PAGE)],
  ['a start inside a transaction', walSize(2, PAGE), walSize(3, PAGE)],
  ['an end behind the WAL', 32, walSize(5, PAGE)],
  ['an end inside a frame', 32, walSize(3, PAGE) + 100],
  ['an end of another page size', 32, walSize(3, 1024)],
];
for (const [what, from, end] of WRONG_ENDS) {
  test(`replay refuses ${what}`, async (t) => {
    const { capture, write } = handMade(t);
    write(THREE);
    assert.equal(await capture.replay(new PageBatch(PAGE), { ...SALTS, from, end }), false);
  });
}

test('CAP-19 replay refuses another generation, whatever the range', async (t) => {
  const { capture, write } = handMade(t);
  write(THREE);
  assert.notEqual(capture.header(), undefined);
  // Between the look at the header and the replay everything was checkpointed, and the WAL restarted.
  write(THREE, NEXT_SALTS);
  for (const end of [32, walSize(3, PAGE)]) {
    const range = { ...SALTS, from: 32, end };
    assert.equal(await capture.replay(new PageBatch(PAGE), range), false);
  }
});

test('replay refuses a chain that was broken before the range', async (t) => {
  const { capture, path, write } = handMade(t);
  write(THREE);
  const fd = openSync(path, 'r+');
  writeSync(fd, new Uint8Array([1, 2, 3]), 0, 3, 1000);
  closeSync(fd);
  const batch = new PageBatch(PAGE);
  assert.equal(
    await capture.replay(batch, { ...SALTS, from: walSize(3, PAGE), end: walSize(4, PAGE) }),
    false,
  );
});

test('replay reads over several windows', async (t) => {
  const { capture, write } = handMade(t, 512);
  const frames = Array.from({ length: 3_000 }, (_, at): Frame => [at + 1, at + 1, at % 251]);
  write(frames);
  const batch = new PageBatch(512);
  assert.equal(
    await capture.replay(batch, { ...SALTS, from: walSize(1_500, 512), end: walSize(2_900, 512) }),
    true,
  );
  assert.equal(batch.count, 1_400);
  assert.equal(capture.commit, 2_900);
});
