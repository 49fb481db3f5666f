/** Seeds and situations that once broke an invariant. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test, type TestContext } from 'node:test';
import { PageBatch } from '../../src/engine/db/page-batch.ts';
import { WalCapture } from '../../src/engine/db/wal-capture.ts';
import { WAL_HEADER_SIZE } from '../../src/formats/sqlite/index.ts';
import { PinnedFile } from '../../src/sqlite/index.ts';
import { describeFailure, run, type RunOptions, simulationFolder } from './harness/run.ts';
import { Simulation } from './harness/simulation.ts';

async function passes(t: TestContext, options: RunOptions): Promise<void> {
  const folder = simulationFolder();
  t.after(() => folder.remove());
  const { failure } = await run(folder.path, options);
  if (failure !== undefined)
    throw new Error(describeFailure('test/simulation/regressions.test.ts', failure));
}

/** An engine that has captured everything of a database with some rows, and connections beside the simulation's own. */
async function captured(
  t: TestContext,
): Promise<{ simulation: Simulation; writer: DatabaseSync; other: DatabaseSync }> {
  const folder = mkdtempSync(join(tmpdir(), 'litestream-regression-'));
  const simulation = new Simulation({ seed: 1, folder, replicas: 1 });
  const path = join(simulation.folder, 'db');
  const [writer, other] = [new DatabaseSync(path), new DatabaseSync(path)];
  for (const db of [writer, other]) db.exec('PRAGMA wal_autocheckpoint = 0');
  other.exec('PRAGMA cache_size = 4');
  t.after(async () => {
    writer.close();
    other.close();
    simulation.application.disconnect();
    if (simulation.engine.running) await simulation.stop();
    simulation.engine.end();
    rmSync(folder, { recursive: true, force: true });
  });
  insert(writer, 20);
  simulation.application.observe();
  simulation.engine.start();
  await simulation.sync(0);
  return { simulation, writer, other };
}

function insert(db: DatabaseSync, rows: number): void {
  const statement = db.prepare('INSERT INTO t (v, b) VALUES (?, ?)');
  const alone = !db.isTransaction;
  if (alone) db.exec('BEGIN');
  for (let row = 0; row < rows; row++) statement.run('x', Buffer.alloc(300, row));
  if (alone) db.exec('COMMIT');
}

/** A database of 512-byte pages without an engine. */
function bare(t: TestContext): { db: DatabaseSync; path: string; wal: PinnedFile } {
  const folder = mkdtempSync(join(tmpdir(), 'litestream-regression-'));
  const path = join(folder, 'db');
  const db = new DatabaseSync(path);
  db.exec('PRAGMA page_size = 512; PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0');
  db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, b BLOB); PRAGMA cache_size = 4');
  const wal = PinnedFile.open(`${path}-wal`);
  t.after(() => {
    db.close();
    wal.close();
    rmSync(folder, { recursive: true, force: true });
  });
  return { db, path, wal };
}

test('a commit after a spilled and rolled-back restart of the WAL is captured', (t) => {
  const { db, path, wal } = bare(t);
  // Each restart counts in the connection that does it; the two of them must have counted differently.
  for (let restart = 0; restart < 3; restart++) {
    insert(db, 5);
    db.exec('PRAGMA wal_checkpoint(PASSIVE)');
  }
  const capture = new WalCapture(wal, 512);
  const batch = new PageBatch(512);
  const other = new DatabaseSync(path);
  t.after(() => other.close());
  other.exec('PRAGMA cache_size = 4; BEGIN IMMEDIATE');
  insert(other, 60);
  assert.deepEqual(capture.capture(batch, false), { kind: 'end', frames: 0 });
  const before = capture.header();
  other.exec('ROLLBACK');
  insert(db, 1);
  const after = capture.header();
  assert.equal(after?.salt1, before?.salt1);
  assert.notEqual(after?.checksum1, before?.checksum1);
  const found = capture.capture(batch, false);
  assert.ok(found.kind === 'end' && found.frames > 0);
});

test('a commit over the first frames of a rolled-back transaction that grew is captured', async (t) => {
  const { simulation, writer, other } = await captured(t);
  other.exec('BEGIN IMMEDIATE');
  insert(other, 60);
  await simulation.sync(0);
  insert(other, 20);
  other.exec('ROLLBACK');
  insert(writer, 1);
  simulation.application.observe();
  await simulation.sync(0);
});

test('capturing ends at an open transaction of whole windows', (t) => {
  const { db, wal } = bare(t);
  const capture = new WalCapture(wal, 512);
  const batch = new PageBatch(512);
  capture.capture(batch, false);
  db.exec('BEGIN IMMEDIATE');
  insert(db, 60);
  const open = (wal.size() - WAL_HEADER_SIZE) / capture.frameSize - capture.frames;
  assert.ok(open > 0 && Number.isInteger(open));
  let pieces = 1;
  while (pieces < 5 && capture.capture(batch, false, open).kind !== 'end') pieces += 1;
  assert.ok(pieces <= 2);
});

test('a history that could not be heard at two starts is not continued by another one', async (t) => {
  for (const seed of [1017, 1029, 1048, 1108]) {
    await passes(t, { seed, ops: 300, replicas: 1, blindStarts: true });
  }
});

// Local files are discarded when a longer history is taken over; a replica that still needs one of them gets a snapshot instead.
test('one replica that is ahead after the local state got lost does not stop the others', async (t) => {
  for (const seed of [1000, 1001, 1002, 1004]) {
    await passes(t, { seed, ops: 300, replicas: 2, blindStarts: true, bridged: true });
  }
});

// A file of another page size cannot be merged with those before it, and a plan without a snapshot begins at TXID 1: a snapshot is
// written directly behind that file.
test('a change of the page size leaves every state restorable', async (t) => {
  for (const seed of [1013, 1021, 1031, 1047]) {
    await passes(t, { seed, ops: 300, replicas: 1, pageSizeChanges: true, bridged: true });
  }
});

// The WAL holds nothing but an open transaction when the daemon comes up and finds its position at the start of it. What is committed,
// checkpointed and followed by a new generation between two looks at the header must be noticed.
test('commits of the moment in which a daemon comes up behind an open transaction are captured', async (t) => {
  await passes(t, { seed: 7007, ops: 350, replicas: 2 });
});
