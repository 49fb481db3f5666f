import assert from 'node:assert/strict';
import { copyFileSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test, type TestContext } from 'node:test';
import { toTxid, type Txid } from '../../formats/ltx/index.ts';
import { present } from '../../lib/assert.ts';
import { systemClock } from '../../lib/clock.ts';
import { CheckpointWorker } from '../../sqlite/index.ts';
import { MemoryClient } from '../../testing/index.ts';
import { AppDatabase } from '../../../test/support/app-database.ts';
import { differences } from '../../../test/support/capture.ts';
import { databaseOptions, openLive, pagesOf, testPorts } from '../../../test/support/engine.ts';
import { imageOfFiles, readLocal } from '../../../test/support/local-history.ts';
import { tempDir } from '../../../test/support/temp-dir.ts';
import { type Continuity, proveContinuity } from './continuity.ts';
import { Database } from './database.ts';
import type { LocalFiles } from './local-files.ts';

/** One stint of the engine over a database: everything committed is captured into local files. */
async function stint(path: string): Promise<{ txid: Txid; files: LocalFiles }> {
  const ports = testPorts();
  const worker = new CheckpointWorker(systemClock);
  const options = databaseOptions(path, [new MemoryClient()]);
  const database = new Database({ options, ports, worker, logger: ports.logger });
  try {
    const txid = await database.sync();
    return { txid, files: database.files };
  } finally {
    await database.release();
    await worker.close();
  }
}

interface Stopped {
  readonly path: string;
  readonly app: AppDatabase;
  readonly files: LocalFiles;
  readonly txid: Txid;
}

/** A database of which everything was captured, and nobody watches any more. The newest file is an increment. */
async function stopped(t: TestContext): Promise<Stopped> {
  const path = join(tempDir(t), 'app.db');
  const app = new AppDatabase(t, path);
  await stint(path);
  app.insert(10);
  const { txid, files } = await stint(path);
  assert.equal(txid, 2n);
  return { path, app, files, txid };
}

/** How continuity stands after what happened, and the proof that the next stint loses nothing. */
async function judge(t: TestContext, { path, files, txid }: Stopped): Promise<Continuity> {
  const live = openLive(t, path);
  const proof = await proveContinuity(live, files, txid);
  await live.close();
  const next = await stint(path);
  const pageSize = readLocal(next.files, next.txid).header.pageSize;
  assert.deepEqual(differences(await imageOfFiles(next.files), pagesOf(path, pageSize)), []);
  return proof;
}

const PROVEN: readonly (readonly [what: string, happens: (scene: Stopped) => void])[] = [
  ['nothing happened', () => undefined],
  ['more was committed', ({ app }) => app.insert(30)],
  ['everything was moved into the database file', ({ app }) => app.checkpoint('PASSIVE')],
  [
    'more was committed, and moved',
    ({ app }) => {
      app.insert(3);
      app.checkpoint('FULL');
    },
  ],
  ['a transaction was rolled back', ({ app }) => app.exec('BEGIN; DELETE FROM t; ROLLBACK')],
];
for (const [what, happens] of PROVEN) {
  test(`E1 proven: ${what}`, async (t) => {
    const scene = await stopped(t);
    happens(scene);
    const proof = await judge(t, scene);
    assert.equal(proof.kind, 'proven');
    const { newest } = await lastFile(scene);
    assert.ok(newest.pages.length < newest.header.commit, 'the history goes on with increments');
  });
}

async function lastFile({ files }: Stopped): Promise<{ newest: ReturnType<typeof readLocal> }> {
  return { newest: readLocal(files, present((await files.list()).at(-1), 'a file')) };
}

const TRUNCATED = 'wal truncated by another process';
const RESTARTED = 'full or restart checkpoint detected, snapshotting';
const OVERWRITTEN = 'last page does not exist in last ltx file, wal overwritten by another process';

/** Goes on with a copy of the database elsewhere, and puts the result back: same salts, another history. */
function otherHistory({ path, app }: Stopped, change: (db: DatabaseSync) => void): void {
  app.close();
  const other = `${path}-other`;
  for (const end of ['', '-wal']) copyFileSync(`${path}-kept${end}`, `${other}${end}`);
  const db = new DatabaseSync(other);
  db.exec('PRAGMA wal_autocheckpoint = 0');
  change(db);
  for (const end of ['', '-wal']) writeFileSync(`${path}${end}`, readFileSync(`${other}${end}`));
  db.close();
  rmSync(`${path}-shm`, { force: true });
}

/** What the application did, with other content. */
function insertTen(db: DatabaseSync): void {
  db.exec('BEGIN');
  for (let n = 0; n < 10; n++) db.exec("INSERT INTO t (v, b) VALUES ('y', randomblob(200))");
  db.exec('COMMIT');
}

const UNPROVEN: readonly (readonly [
  what: string,
  reason: string | RegExp,
  happens: (scene: Stopped) => void,
])[] = [
  ['the WAL was emptied', TRUNCATED, ({ app }) => app.checkpoint('TRUNCATE')],
  [
    'the application closed last and deleted the WAL',
    TRUNCATED,
    ({ app, path }) => {
      app.insert(2);
      app.close();
      assert.equal(existsSync(`${path}-wal`), false);
    },
  ],
  [
    'the WAL restarted and is shorter now (W-1)',
    RESTARTED,
    ({ app }) => {
      app.insert(40);
      app.checkpoint('RESTART');
      app.insert(1);
    },
  ],
  [
    'the WAL restarted and is longer now',
    RESTARTED,
    ({ app }) => {
      app.insert(40);
      app.checkpoint('RESTART');
      app.insert(400);
    },
  ],
  [
    'the WAL restarted without a loss',
    RESTARTED,
    ({ app }) => {
      app.checkpoint('RESTART');
      app.insert(1);
    },
  ],
  [
    'several generations came and went',
    RESTARTED,
    ({ app }) => {
      for (let n = 0; n < 3; n++) {
        app.insert(10);
        app.checkpoint('RESTART');
      }
      app.exec("UPDATE t SET v = 'z'");
    },
  ],
  [
    'an older copy of the database was put back',
    TRUNCATED,
    ({ app, path }) => {
      app.close();
      writeFileSync(path, readFileSync(`${path}-kept`));
    },
  ],
  [
    'the end of the WAL is damaged',
    OVERWRITTEN,
    ({ app, path }) => {
      const wal = readFileSync(`${path}-wal`);
      wal[wal.length - 100] = (wal.at(-100) ?? 0) ^ 1;
      app.close();
      writeFileSync(`${path}-wal`, wal);
      rmSync(`${path}-shm`, { force: true });
    },
  ],
  [
    'another history has the same salts, and as many frames',
    OVERWRITTEN,
    (scene) => otherHistory(scene, insertTen),
  ],
  [
    'another history has the same salts, and more frames',
    OVERWRITTEN,
    (scene) =>
      otherHistory(scene, (db) => {
        insertTen(db);
        for (let n = 0; n < 30; n++) db.exec(`INSERT INTO t (v) VALUES ('n${n}')`);
      }),
  ],
  [
    'CAP-21 the page size was changed',
    /^page size changed from 4096 to 1024$/,
    ({ app }) => {
      app.exec('PRAGMA journal_mode = delete; PRAGMA page_size = 1024; VACUUM');
      app.exec('PRAGMA journal_mode = wal');
      app.insert(1);
    },
  ],
  [
    'the database was in rollback mode for a while',
    TRUNCATED,
    ({ app }) => {
      app.exec("PRAGMA journal_mode = delete; UPDATE t SET v = 'r'; PRAGMA journal_mode = wal");
    },
  ],
];
for (const [what, reason, happens] of UNPROVEN) {
  test(`E1 unproven, so everything is written again: ${what}`, async (t) => {
    const path = join(tempDir(t), 'app.db');
    const app = new AppDatabase(t, path);
    await stint(path);
    // The database as it was before the newest file.
    for (const end of ['', '-wal']) copyFileSync(`${path}${end}`, `${path}-kept${end}`);
    app.insert(10);
    const { txid, files } = await stint(path);
    const scene = { path, app, files, txid };
    happens(scene);
    const proof = await judge(t, scene);
    assert.ok(proof.kind === 'unproven');
    if (typeof reason === 'string') assert.equal(proof.why.reason, reason);
    else assert.match(proof.why.reason, reason);
    const { newest } = await lastFile(scene);
    assert.equal(newest.header.minTxid, txid + 1n);
    assert.equal(newest.pages.length, newest.header.commit, 'every page');
  });
}

test('a database that holds what the newest file holds needs no new file, whatever became of the WAL', async (t) => {
  const path = join(tempDir(t), 'app.db');
  const app = new AppDatabase(t, path);
  const first = await stint(path);
  assert.equal(first.txid, 1n);
  app.checkpoint('TRUNCATE');
  assert.equal((await stint(path)).txid, 1n);
  app.close();
  assert.equal(existsSync(`${path}-wal`), false);
  assert.equal((await stint(path)).txid, 1n);
  const again = new AppDatabase(t, path);
  again.insert(1);
  const { txid, files } = await stint(path);
  assert.equal(txid, 2n);
  assert.deepEqual(differences(await imageOfFiles(files), pagesOf(path)), []);
});

test('a clean restart writes nothing', async (t) => {
  const scene = await stopped(t);
  for (let n = 0; n < 3; n++) assert.equal((await stint(scene.path)).txid, scene.txid);
});

test('a damaged newest file is an error that says what to do', async (t) => {
  const { path, files, txid } = await stopped(t);
  const name = files.pathOf(txid);
  const bytes = readFileSync(name);
  writeFileSync(name, bytes.subarray(0, bytes.length - 10));
  await assert.rejects(proveContinuity(openLive(t, path), files, txid), (error) => {
    assert.ok(error instanceof Error && 'code' in error && 'hint' in error);
    assert.equal(error.code, 'ERR_LTX_CORRUPTED');
    assert.match(String(error.hint), /Delete the \.sqlite-litestream directory/);
    return true;
  });
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 0x10;
  writeFileSync(name, bytes);
  await assert.rejects(stint(path), { code: 'ERR_LTX_CORRUPTED' });
});

test('a newest file that is gone is an error', async (t) => {
  const { path, files } = await stopped(t);
  await assert.rejects(proveContinuity(openLive(t, path), files, toTxid(77)), {
    code: 'ERR_LTX_MISSING',
  });
});
