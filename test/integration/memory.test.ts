/** What a daemon takes for a database of many pages. */
import assert from 'node:assert/strict';
import { closeSync, openSync, readFileSync, truncateSync, writeSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { test, type TestContext } from 'node:test';
import { filesOf } from '../support/replica-folder.ts';
import { waitFor } from '../support/wait.ts';
import { Scene } from './scene.ts';

const PAGE_SIZE = 512;
const PAGES = process.env['SLOW'] === '1' ? 5_000_000 : 400_000;
/** The page index takes 8; a map with an entry for each page takes about 50, and more while it grows. */
const BYTES_PER_PAGE_MAX = 24;
/** Two processes that do the same differ by as much. */
const NOISE_BYTES = 40 << 20;
const PAGE_COUNT_AT = 28;

/** A database of so many pages, nearly all of them zeros and none of them on the disk. */
function makeSparse(path: string, pages: number): void {
  const database = new DatabaseSync(path);
  database.exec(`PRAGMA page_size = ${PAGE_SIZE}; PRAGMA journal_mode = wal`);
  database.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, v, b)');
  database.close();
  truncateSync(path, pages * PAGE_SIZE);
  const count = Buffer.alloc(4);
  count.writeUInt32BE(pages);
  const file = openSync(path, 'r+');
  writeSync(file, count, 0, count.length, PAGE_COUNT_AT);
  closeSync(file);
}

/** The most memory that a process had until now; bytes. */
function peakOfProcess(pid: number | undefined): number {
  const [, peak = ''] = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(peak) * 1024;
}

/** The most memory that a daemon had after a first sync and a snapshot, or a second one after a sync of everything and a compaction; bytes. */
async function peakOf(t: TestContext, pages: number): Promise<number> {
  const scene = new Scene(t, {
    top: ['levels: [{ interval: 1s }]', 'snapshot: { interval: 1s, retention: 1h }'],
  });
  const large = async (level: number): Promise<void> => {
    const isThere = (): boolean =>
      filesOf(scene.replica, level).some(({ size }) => size > pages * 10);
    await waitFor(isThere, { what: `level ${level}`, timeoutMs: 150_000, stepMs: 100 });
  };
  makeSparse(scene.database, pages);
  using application = new DatabaseSync(scene.database, { timeout: 5000 });
  application.exec("INSERT INTO t (v) VALUES ('x')");
  const first = scene.start();
  await large(0);
  await large(9);
  const snapshot = peakOfProcess(first.pid);
  await first.kill();
  // Nobody can tell what was in the WAL: the whole database is written again, and level 1 takes it.
  application.exec("PRAGMA wal_checkpoint(TRUNCATE); INSERT INTO t (v) VALUES ('y')");
  const second = scene.start();
  await large(1);
  const compaction = peakOfProcess(second.pid);
  await second.stop();
  return Math.max(snapshot, compaction);
}

test('CMP-07 the memory of a first sync, a snapshot and a compaction grows by a few bytes per page', async (t) => {
  if (process.platform !== 'linux') {
    t.skip('peak memory of another process: Linux only');
    return;
  }
  const small = await peakOf(t, PAGES);
  const large = await peakOf(t, 4 * PAGES);
  const perPage = (large - small) / (3 * PAGES);
  t.diagnostic(`${small >> 20} and ${large >> 20} MiB, ${perPage.toFixed(1)} bytes per page`);
  assert.ok(large - small < 3 * PAGES * BYTES_PER_PAGE_MAX + NOISE_BYTES);
});
