/** What happens when other files come under the paths of an open database. */
import assert from 'node:assert/strict';
import { copyFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { systemClock } from '../../lib/clock.ts';
import { CheckpointWorker } from '../../sqlite/index.ts';
import { FakeClock, MemoryClient } from '../../testing/index.ts';
import { AppDatabase } from '../../../test/support/app-database.ts';
import { differences } from '../../../test/support/capture.ts';
import {
  databaseOptions,
  pagesOf,
  type RecordingLogger,
  testPorts,
} from '../../../test/support/engine.ts';
import { imageOfFiles, readLocal } from '../../../test/support/local-history.ts';
import { tempDir } from '../../../test/support/temp-dir.ts';
import { toTxid } from '../../formats/ltx/index.ts';
import { Database } from './database.ts';

const STARTING_OVER = 'database files were replaced, starting over';
const MAY_BE_MISSING = 'last commits before the replacement may be missing';

interface Bench {
  readonly path: string;
  readonly app: AppDatabase;
  readonly database: Database;
  readonly logger: RecordingLogger;
  readonly clock: FakeClock;
}

/** A database whose first two files are written. */
async function open(t: TestContext): Promise<Bench> {
  const path = join(tempDir(t), 'app.db');
  const app = new AppDatabase(t, path);
  const clock = new FakeClock();
  const ports = testPorts({ clock });
  const worker = new CheckpointWorker(systemClock);
  const options = databaseOptions(path, [new MemoryClient()]);
  const database = new Database({ options, ports, worker, logger: ports.logger });
  t.after(async () => {
    await database.stopLoops();
    await database.release();
    await worker.close();
  });
  await database.sync();
  app.insert(3);
  assert.equal(await database.sync(), 2n);
  return { path, app, database, logger: ports.logger, clock };
}

/** Each leaves the application without a connection to the former file. */
const REPLACEMENTS: Readonly<Record<string, (path: string, t: TestContext) => void>> = {
  deleted: (path) => {
    for (const end of ['', '-wal', '-shm']) rmSync(`${path}${end}`);
  },
  'deleted, its WAL not': (path) => rmSync(path),
  'moved away': (path) => {
    for (const end of ['', '-wal', '-shm']) renameSync(`${path}${end}`, `${path}-old${end}`);
  },
  'deleted and made again': (path, t) => {
    for (const end of ['', '-wal', '-shm']) rmSync(`${path}${end}`);
    new AppDatabase(t, path, { rows: 70 });
  },
  'deleted and made again with another page size': (path, t) => {
    for (const end of ['', '-wal', '-shm']) rmSync(`${path}${end}`);
    new AppDatabase(t, path, { rows: 70, pageSize: 1024 }).checkpoint('TRUNCATE');
  },
  exchanged: (path, t) => {
    const other = new AppDatabase(t, `${path}-new`, { rows: 7 });
    other.close();
    for (const end of ['-wal', '-shm']) rmSync(`${path}${end}`);
    renameSync(`${path}-new`, path);
  },
};

for (const [what, replace] of Object.entries(REPLACEMENTS)) {
  for (const state of ['idle', 'at work']) {
    test(`CAP-15 E1 what was committed before the file was ${what} is restorable (${state})`, async (t) => {
      const { app, clock, database, logger, path } = await open(t);
      if (state === 'idle') {
        // Only the reader stays open.
        await clock.advance(60_000);
        await database.sync();
      }
      app.insert(5);
      const wanted = pagesOf(path);
      app.close();
      replace(path, t);
      const next = /again|exchanged/.test(what);
      assert.equal(await database.sync(), next ? 4n : 3n);
      assert.deepEqual(differences(await imageOfFiles(database.files, 3n), wanted), []);
      if (next) {
        const pageSize = what.includes('page size') ? 1024 : 4096;
        const image = await imageOfFiles(database.files);
        assert.deepEqual(differences(image, pagesOf(path, pageSize)), []);
      }
      assert.equal(logger.messages('warn')[0], STARTING_OVER);
      assert.equal(logger.messages('warn').includes(MAY_BE_MISSING), false);
    });
  }
}

test('CAP-15 a WAL that stays under the path may be that of the next database: nothing is taken from it', async (t) => {
  const { app, database, logger, path } = await open(t);
  app.insert(5);
  copyFileSync(path, `${path}-new`);
  renameSync(`${path}-new`, path);
  assert.equal(await database.sync(), 3n);
  assert.deepEqual(logger.messages('warn').slice(0, 2), [STARTING_OVER, MAY_BE_MISSING]);
  const { header, pages } = readLocal(database.files, toTxid(3n));
  assert.equal(pages.length, header.commit);
});

test('CAP-15 the former file may be let go without a word about what is not lost', async (t) => {
  const { app, database, logger, path } = await open(t);
  app.close();
  for (const end of ['', '-wal', '-shm']) rmSync(`${path}${end}`);
  assert.equal(await database.sync(), 2n);
  assert.deepEqual(logger.messages('warn', 'error'), [
    STARTING_OVER,
    'database does not exist, waiting for it',
  ]);
});
