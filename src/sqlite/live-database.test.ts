import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { systemClock } from '../lib/clock.ts';
import { AppDatabase, contentOf } from '../../test/support/app-database.ts';
import { foreignCheckpoint, foreignConnection } from '../../test/support/capture.ts';
import { openLive } from '../../test/support/engine.ts';
import { tempDir } from '../../test/support/temp-dir.ts';
import { CheckpointWorker, identify, LiveDatabase } from './index.ts';

const NO_LOCKS = existsSync('/proc/locks') ? false : 'proc-locks: no /proc/locks';

function open(path: string): LiveDatabase | undefined {
  const worker = new CheckpointWorker(systemClock);
  return LiveDatabase.open({ path, worker, descriptorSink: () => undefined });
}

/** An application's database without an application. */
function madeDatabase(t: TestContext, rows = 5): string {
  const path = join(tempDir(t), 'app.db');
  const db = new AppDatabase(t, path, { rows });
  db.close();
  return path;
}

/** POSIX locks of this process on a database's files, as the kernel lists them. */
function heldLocks(path: string): string[] {
  const inodes = new Map(
    [path, `${path}-shm`].map((name) => [String(statSync(name).ino), name.slice(path.length)]),
  );
  return readFileSync('/proc/locks', 'utf8')
    .split('\n')
    .flatMap((line) => {
      const [, kind, , type, pid, file, start, end] = line.trim().split(/\s+/);
      const name = inodes.get(file?.split(':')[2] ?? '');
      const own = kind === 'POSIX' && pid === String(process.pid) && name !== undefined;
      return own ? [`${name} ${type} ${start}-${end}`] : [];
    })
    .sort();
}

/** What a statement answers in another process. */
function elsewhere(path: string, sql: string): unknown {
  const script = `
    const { DatabaseSync } = require('node:sqlite');
    const db = new DatabaseSync(process.argv[1], { timeout: 0 });
    console.log(JSON.stringify(db.prepare(process.argv[2]).all()));
    db.close();`;
  const text = execFileSync(process.execPath, ['-e', script, path, sql], { encoding: 'utf8' });
  return JSON.parse(text);
}

test(
  'C1 C2 spare connections open and close without touching the locks of custody',
  { skip: NO_LOCKS },
  async (t) => {
    const path = madeDatabase(t);
    const live = openLive(t, path);
    live.wal();
    const held = heldLocks(path);
    assert.ok(held.length >= 2, 'a lock on the database and a read mark');
    for (let round = 0; round < 3; round++) {
      assert.ok(live.beginBarrier());
      live.endBarrier();
      await live.checkpointBulk();
      live.checkpointTail();
      live.readPage(1, new Uint8Array(live.pageSize));
      live.replacement();
      assert.equal(live.hasSpares, true);
      await live.closeSpares();
      assert.equal(live.hasSpares, false);
      assert.deepEqual(heldLocks(path), held, `round ${round}`);
    }
  },
);

test('C1 when readers alternate a read mark is held at every step', { skip: NO_LOCKS }, (t) => {
  const path = madeDatabase(t);
  const live = openLive(t, path);
  const marked = (): boolean => heldLocks(path).some((lock) => lock.startsWith('-shm READ'));
  for (let round = 0; round < 4; round++) {
    assert.ok(marked());
    assert.ok(live.beginSuccessor());
    assert.ok(marked());
    live.promoteSuccessor();
  }
  assert.ok(marked());
});

test('C1 another process can neither empty nor restart the WAL under custody', (t) => {
  const path = madeDatabase(t);
  const app = new AppDatabase(t, path);
  const live = openLive(t, path);
  app.insert(3);
  const size = live.wal().size();
  for (const mode of ['RESTART', 'TRUNCATE']) {
    const [row] = elsewhere(path, `PRAGMA wal_checkpoint(${mode})`) as { busy: number }[];
    assert.equal(row?.busy, 1, mode);
  }
  app.close();
  assert.deepEqual(elsewhere(path, 'SELECT count(*) AS n FROM t'), [{ n: 8 }]);
  assert.equal(live.wal().size(), size, 'nor does the last application that closes');
});

test('NODE-03 C3 close keeps the WAL, whether connections were spare or not', async (t) => {
  for (const spares of [false, true]) {
    const path = madeDatabase(t);
    const app = new AppDatabase(t, path);
    const live = openLive(t, path);
    app.insert(3);
    if (spares) {
      assert.ok(live.beginSuccessor());
      assert.ok(live.beginBarrier());
      live.endBarrier();
      live.checkpointTail();
      await live.checkpointBulk();
    }
    app.close();
    const wal = readFileSync(`${path}-wal`);
    assert.ok(wal.length > 32);
    await live.close();
    assert.deepEqual(readFileSync(`${path}-wal`), wal);
  }
});

test('close gives all locks back', { skip: NO_LOCKS }, async (t) => {
  const path = madeDatabase(t);
  const worker = new CheckpointWorker(systemClock);
  const live = LiveDatabase.open({ path, worker });
  live?.wal();
  await live?.close();
  await worker.close();
  assert.ok(existsSync(`${path}-shm`));
  assert.deepEqual(heldLocks(path), []);
});

test('close works when the files are gone', async (t) => {
  const path = madeDatabase(t);
  const live = open(path);
  for (const name of [path, `${path}-wal`, `${path}-shm`]) unlinkSync(name);
  await live?.close();
  assert.equal(existsSync(path), false, 'and brings none back');
});

test('descriptors go to the sink instead of being closed', async (t) => {
  const path = madeDatabase(t);
  const sunk: number[] = [];
  const worker = new CheckpointWorker(systemClock);
  const live = LiveDatabase.open({ path, worker, descriptorSink: (fd) => void sunk.push(fd) });
  await live?.close();
  assert.equal(sunk.length, 1);
});

test('a symbolic link leads to the database and its WAL', async (t) => {
  const path = madeDatabase(t);
  const folder = tempDir(t);
  const link = join(folder, 'link.db');
  symlinkSync(path, link);
  const live = openLive(t, link);
  assert.equal(live.path, path);
  assert.equal(live.walPath, `${path}-wal`);
  live.wal();
  assert.equal(existsSync(`${link}-wal`), false);
  assert.equal(live.replacement(), undefined);
});

test('a database in rollback mode is switched to WAL', (t) => {
  const path = join(tempDir(t), 'rollback.db');
  const app = foreignConnection(t, path);
  app.exec('CREATE TABLE t (v)');
  const live = openLive(t, path);
  const later = foreignConnection(t, path);
  assert.equal(later.prepare('PRAGMA journal_mode').get()?.['journal_mode'], 'wal');
  assert.ok(live.wal().size() >= 0);
});

test('pages come from the database file, never from the WAL', (t) => {
  const path = madeDatabase(t);
  const app = new AppDatabase(t, path);
  const live = openLive(t, path);
  const before = new Uint8Array(live.pageSize);
  live.readPage(2, before);
  app.exec("UPDATE t SET v = 'new'");
  const after = new Uint8Array(live.pageSize);
  live.readPage(2, after);
  assert.deepEqual(after, before);
  assert.throws(() => live.readPage(10_000, after), { code: 'ERR_DB_IO' });
});

const REFUSED: readonly (readonly [
  what: string,
  make: (path: string) => void,
  code: string,
  message: RegExp,
])[] = [
  ['a missing file', () => undefined, 'ERR_IO', /no such file or directory/],
  ['a folder', (path) => mkdirSync(path), 'ERR_IO', /is a directory/],
  [
    'a file that is no database',
    (path) => writeFileSync(path, 'no database, but long enough for a header '.repeat(50)),
    'ERR_DB_INVALID',
    /file is not a database/,
  ],
  [
    'a link that leads nowhere',
    (path) => symlinkSync(`${path}-target`, path),
    'ERR_IO',
    /no such file or directory/,
  ],
];
for (const [what, make, code, message] of REFUSED) {
  test(`${what} is refused, and nothing is left behind`, (t) => {
    const path = join(tempDir(t), 'it.db');
    make(path);
    assert.throws(() => open(path), { code, message });
    assert.equal(existsSync(`${path}-wal`), false);
    assert.equal(existsSync(`${path}-target`), false);
  });
}

const AS_ROOT = process.getuid?.() === 0 ? 'user: root may write everything' : false;
test('a database that may not be written is refused', { skip: AS_ROOT }, (t) => {
  const path = madeDatabase(t);
  chmodSync(path, 0o444);
  assert.throws(() => open(path), { code: 'ERR_DB_READONLY' });
});

test('C5 an exclusive lock of somebody else means: try again', (t) => {
  const path = madeDatabase(t);
  const other = foreignConnection(t, path);
  other.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; DELETE FROM t');
  assert.equal(open(path), undefined);
  other.exec('ROLLBACK');
  other.close();
  const live = openLive(t, path);
  assert.equal(live.replacement(), undefined);
});

test('C5 a rollback-mode database in use means: try again', (t) => {
  const path = join(tempDir(t), 'rollback.db');
  const app = foreignConnection(t, path);
  app.exec('CREATE TABLE t (v); INSERT INTO t VALUES (1); BEGIN');
  app.prepare('SELECT * FROM t').all();
  assert.equal(open(path), undefined);
  app.exec('COMMIT');
  openLive(t, path);
});

test('C5 the barrier is not waited for', (t) => {
  const path = madeDatabase(t);
  const live = openLive(t, path);
  const other = foreignConnection(t, path);
  other.exec('BEGIN IMMEDIATE');
  assert.equal(live.beginBarrier(), false);
  assert.ok(live.beginSuccessor(), 'readers need no write lock');
  other.exec('ROLLBACK');
  assert.equal(live.beginBarrier(), true);
  assert.throws(() => other.exec('BEGIN IMMEDIATE'), /locked/);
  live.endBarrier();
  other.exec('BEGIN IMMEDIATE; ROLLBACK');
});

test('C1 neither the reader nor the barrier can be given up without the other', (t) => {
  const live = openLive(t, madeDatabase(t));
  assert.throws(() => live.suspendReader(), { code: 'ERR_ASSERTION' });
  assert.throws(() => live.promoteSuccessor(), { code: 'ERR_ASSERTION' });
  assert.ok(live.beginBarrier());
  live.suspendReader();
  assert.equal(live.readerStands, false);
  assert.ok(live.resumeReader());
  assert.equal(live.readerStands, true);
  live.endBarrier();
});

test('TRUNCATE empties the WAL only when everything was moved', (t) => {
  const path = madeDatabase(t);
  const app = new AppDatabase(t, path);
  const live = openLive(t, path);
  app.insert(5);
  assert.equal(live.truncateWal().busy, true, 'our reader stands in the WAL');
  assert.ok(live.wal().size() > 0);
  assert.ok(live.beginSuccessor());
  live.promoteSuccessor();
  live.checkpointTail();
  assert.ok(live.beginSuccessor());
  live.promoteSuccessor();
  assert.equal(live.truncateWal().busy, false);
  assert.equal(live.wal().size(), 0);
  assert.equal(live.replacement(), undefined, 'it is still the same file');
});

const REPLACEMENTS: readonly (readonly [expected: string, replace: (path: string) => void])[] = [
  ['database removed', (path) => unlinkSync(path)],
  [
    'database replaced',
    (path) => {
      copyFileSync(path, `${path}-copy`);
      renameSync(`${path}-copy`, path);
    },
  ],
  ['wal removed', (path) => unlinkSync(`${path}-wal`)],
  [
    'wal replaced',
    (path) => {
      copyFileSync(`${path}-wal`, `${path}-copy`);
      renameSync(`${path}-copy`, `${path}-wal`);
    },
  ],
];
for (const [expected, replace] of REPLACEMENTS) {
  test(`notices: ${expected}`, (t) => {
    const path = madeDatabase(t);
    const live = openLive(t, path);
    live.wal();
    assert.equal(live.replacement(), undefined);
    replace(path);
    assert.equal(live.replacement(), expected);
  });
}

test('identity is that of the file, whatever its size', (t) => {
  const path = madeDatabase(t);
  const live = openLive(t, path);
  truncateSync(path, 4096);
  assert.equal(live.replacement(), undefined);
  assert.equal(live.fileSize(), 4096);
  assert.equal(identify(join(path, 'below')), undefined, 'below a file there is nothing');
});

test('our reader holds back what came after it', (t) => {
  const path = madeDatabase(t);
  const app = new AppDatabase(t, path);
  const other = foreignConnection(t, path);
  const moved = foreignCheckpoint(other, 'PASSIVE');
  assert.equal(moved.checkpointed, moved.log);
  const live = openLive(t, path);
  app.insert(2);
  const later = foreignCheckpoint(other, 'PASSIVE');
  assert.equal(later.checkpointed, 0, 'a reader on mark 0 lets nothing be moved');
  assert.ok(later.log > 0);
  assert.ok(live.wal().size() > 32);
});

test('C4 barriers, readers, checkpoints and close commit nothing', async (t) => {
  const path = madeDatabase(t);
  const app = new AppDatabase(t, path);
  const other = foreignConnection(t, path);
  app.insert(20);
  const state = (): unknown => [
    other.prepare('PRAGMA data_version').get(),
    other.prepare('SELECT * FROM sqlite_schema').all(),
    contentOf(path),
    readFileSync(`${path}-wal`).toString('hex'),
  ];
  const before = state();
  const live = openLive(t, path);
  for (let round = 0; round < 3; round++) {
    assert.ok(live.beginSuccessor());
    live.promoteSuccessor();
    await live.checkpointBulk();
    assert.ok(live.beginBarrier());
    live.suspendReader();
    assert.equal(live.checkpointTail().busy, false);
    assert.ok(live.resumeReader());
    live.endBarrier();
    assert.deepEqual(state(), before);
  }
  await live.close();
  assert.deepEqual(state(), before);
});
