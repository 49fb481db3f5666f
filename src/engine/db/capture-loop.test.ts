import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { present } from '../../lib/assert.ts';
import { systemClock } from '../../lib/clock.ts';
import { CheckpointWorker } from '../../sqlite/index.ts';
import { AppDatabase } from '../../../test/support/app-database.ts';
import { differences } from '../../../test/support/capture.ts';
import { databaseOptions, localFiles, pagesOf, testPorts } from '../../../test/support/engine.ts';
import { imageOfFiles, readLocal } from '../../../test/support/local-history.ts';
import { tempDir } from '../../../test/support/temp-dir.ts';
import { toTxid } from '../../formats/ltx/index.ts';
import { Activity } from './activity.ts';
import { CaptureLoop } from './capture-loop.ts';
import { openSession } from './opener.ts';

test('E1 custody that was lost once is made good before anything else, whoever asks next', async (t) => {
  const path = join(tempDir(t), 'app.db');
  const app = new AppDatabase(t, path, { rows: 300 });
  const files = await localFiles(path);
  await files.makeFolder();
  const ports = testPorts();
  const { logger } = ports;
  const options = databaseOptions(path, []);
  const worker = new CheckpointWorker(systemClock);
  const { signal } = new AbortController();
  const opened = await openSession({
    options,
    ports,
    files,
    replicas: [],
    worker,
    logger,
    signal,
    broken: undefined,
  });
  const { session, start, timestampMs } = opened;
  const loop = new CaptureLoop({
    options,
    ports,
    files,
    logger,
    activity: new Activity(systemClock),
    session,
    pool: undefined,
    lastTxid: start.lastTxid,
    timestampMs,
    onPublished: () => undefined,
  });
  t.after(async () => {
    await loop.close();
    await worker.close();
  });
  loop.publishFirst(present(opened.first, 'a first transaction'));
  await loop.pass(true, signal);
  app.insert(1);
  assert.ok(session.live.beginBarrier());
  session.live.suspendReader();
  session.live.endBarrier();
  await assert.rejects(loop.pass(true, signal), { name: 'ContinuityLost' });
  await loop.pass(true, signal);
  const { header, pages } = readLocal(files, toTxid(2n));
  assert.equal(pages.length, header.commit, 'the whole database');
  assert.deepEqual(differences(await imageOfFiles(files), pagesOf(path)), []);
});
