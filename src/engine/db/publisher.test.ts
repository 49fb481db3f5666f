import assert from 'node:assert/strict';
import { readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { toTxid, type Txid } from '../../formats/ltx/index.ts';
import { isLitestreamError } from '../../lib/errors.ts';
import { nodeFileSystem } from '../../lib/file-system.ts';
import { FakeClock, FaultyFileSystem } from '../../testing/index.ts';
import { localFiles } from '../../../test/support/engine.ts';
import { readLocal } from '../../../test/support/local-history.ts';
import { tempDir } from '../../../test/support/temp-dir.ts';
import type { LocalFiles } from './local-files.ts';
import { PageBatch } from './page-batch.ts';
import { Publisher } from './publisher.ts';
import { increment, type Transaction } from './transaction.ts';

const PAGE = 512;

/** A transaction of whole pages filled with a value. */
function transactionOf(pages: number, value: number, from = 1): Transaction {
  const batch = new PageBatch(PAGE);
  for (let pgno = from; pgno < from + pages; pgno++) batch.putImage(pgno).fill(value);
  return increment({
    batch,
    reader: { readFrame: () => assert.fail('everything is in memory') },
    readPage: () => assert.fail('everything is in memory'),
    commit: from + pages - 1,
    previousCommit: from + pages - 1,
    range: { offset: 32, size: 100, salt1: 1, salt2: 2 },
  });
}

interface Bench {
  readonly publisher: Publisher;
  readonly files: LocalFiles;
  readonly fileSystem: FaultyFileSystem;
  readonly clock: FakeClock;
  readonly published: Txid[];
  readonly names: () => string[];
}

async function openBench(t: TestContext, last = 0): Promise<Bench> {
  const path = join(tempDir(t), 'app.db');
  writeFileSync(path, '', { mode: 0o640 });
  const fileSystem = new FaultyFileSystem(nodeFileSystem);
  const files = await localFiles(path, fileSystem);
  const clock = new FakeClock();
  const published: Txid[] = [];
  const publisher = new Publisher(
    { files, clock, onPublished: (txid) => void published.push(txid) },
    toTxid(last),
  );
  const names = (): string[] => {
    try {
      return readdirSync(files.folder).sort();
    } catch {
      return [];
    }
  };
  return { publisher, files, fileSystem, clock, published, names };
}

test('E3 a file is durable before it has its name, and the name before it counts', async (t) => {
  const { publisher, files, fileSystem, published } = await openBench(t);
  publisher.start(transactionOf(3, 7), PAGE);
  assert.equal(publisher.busy, true);
  await publisher.settled();
  const order = fileSystem.calls.filter((label) => label !== 'l0:write');
  assert.deepEqual(order, [
    'l0:mkdir',
    'l0:open',
    'l0:chown',
    'l0:fsync',
    'close',
    'l0:rename',
    'l0:fsync-dir',
  ]);
  assert.ok(fileSystem.calls.indexOf('l0:write') < fileSystem.calls.indexOf('l0:fsync'));
  assert.deepEqual(published, [1n]);
  assert.equal(publisher.lastTxid, 1n);
  assert.equal(publisher.busy, false);
  const { header, pages } = readLocal(files, toTxid(1));
  assert.deepEqual([header.minTxid, header.maxTxid, header.commit], [1n, 1n, 3]);
  assert.deepEqual(
    [header.walOffset, header.walSize, header.walSalt1, header.walSalt2],
    [32, 100, 1, 2],
  );
  assert.deepEqual(
    pages.map(({ pgno, data }) => [pgno, data[0]]),
    [
      [1, 7],
      [2, 7],
      [3, 7],
    ],
  );
});

test('files take over mode of the database, folders that of its folder', async (t) => {
  const { publisher, files } = await openBench(t);
  publisher.start(transactionOf(1, 7), PAGE);
  await publisher.settled();
  assert.equal(statSync(files.pathOf(toTxid(1))).mode & 0o777, 0o640);
  assert.equal(statSync(files.folder).mode & 0o777, 0o700);
});

test('E2 numbers go on without a gap, from where they were set', async (t) => {
  const { publisher, names } = await openBench(t, 41);
  for (const value of [1, 2]) {
    publisher.start(transactionOf(1, value), PAGE);
    await publisher.settled();
  }
  assert.equal(publisher.lastTxid, 43n);
  assert.equal(names().length, 2);
});

test('times never go back, even where the clock does', async (t) => {
  const { publisher, files, clock } = await openBench(t);
  const times: number[] = [];
  for (const jump of [0, 5_000, -60_000, 1]) {
    clock.jump(jump);
    publisher.start(transactionOf(1, 1), PAGE);
    await publisher.settled();
    times.push(readLocal(files, publisher.lastTxid).header.timestampMs);
  }
  assert.equal((times[1] ?? 0) - (times[0] ?? 0), 5_000);
  assert.deepEqual(times.slice(2), [times[1], times[1]]);
  const other = await openBench(t);
  other.publisher.setLastTxid(toTxid(7), clock.now() + 1e6);
  other.publisher.start(transactionOf(1, 1, 1), PAGE);
  await other.publisher.settled();
  assert.equal(readLocal(other.files, toTxid(8)).header.timestampMs, clock.now() + 1e6);
});

/** The calls that one file takes, as [label, how many of that label came before it]. */
async function callsOfOneFile(t: TestContext): Promise<string[]> {
  const { publisher, fileSystem } = await openBench(t);
  publisher.start(transactionOf(3, 7), PAGE);
  await publisher.settled();
  return [...fileSystem.calls];
}

for (const errno of ['ENOSPC', 'EIO'] as const) {
  for (const after of [false, true]) {
    const when = after ? 'after' : 'at';
    test(`E6 ${errno} ${when} any operation keeps transaction and number; the next try makes the file`, async (t) => {
      const calls = await callsOfOneFile(t);
      for (const [at, label] of calls.entries()) {
        const { publisher, files, fileSystem, published, names } = await openBench(t, 4);
        const what = `${label} (call ${at})`;
        fileSystem.fail(errno, { nth: at + 1, after });
        publisher.start(transactionOf(3, 7), PAGE);
        await assert.rejects(publisher.settled(), (error) => {
          assert.ok(isLitestreamError(error), what);
          assert.equal(error.code, errno === 'ENOSPC' ? 'ERR_DISK_FULL' : 'ERR_IO', what);
          assert.match(error.message, /^sync: stage-(mkdir|open|write|sync) ltx file .*\.ltx\.tmp/);
          assert.equal(error.retryable, true, what);
          return true;
        });
        assert.equal(publisher.busy, true, what);
        assert.equal(publisher.running, false, what);
        assert.equal(publisher.lastTxid, 4n, what);
        assert.deepEqual(published, [], what);
        assert.deepEqual(
          names().filter((name) => name.endsWith('.tmp')),
          [],
          what,
        );
        publisher.retry();
        await publisher.settled();
        assert.equal(publisher.failure, undefined, what);
        assert.deepEqual(published, [5n], what);
        assert.deepEqual(await files.list(), [5n], what);
        assert.equal(readLocal(files, toTxid(5)).pages.length, 3, what);
      }
    });
  }
}

test('E3 a crash at any operation leaves the whole file or none', async (t) => {
  const calls = await callsOfOneFile(t);
  const found = new Set<number>();
  for (const after of [false, true]) {
    for (const [at, label] of calls.entries()) {
      const { publisher, files, fileSystem, names } = await openBench(t);
      fileSystem.crash({ nth: at + 1, after });
      publisher.start(transactionOf(3, 7), PAGE);
      await assert.rejects(publisher.settled());
      fileSystem.reset();
      await files.removeTemporary();
      const left = await files.list();
      found.add(left.length);
      if (left.length > 0) {
        assert.equal((await files.verify(toTxid(1))).commit, 3, `${label} (call ${at})`);
      }
      assert.equal(names().length, left.length, 'nothing else is left');
    }
  }
  assert.deepEqual(found, new Set([0, 1]), 'both ends were seen');
});

test('failures one after another change nothing', async (t) => {
  const { publisher, fileSystem, published } = await openBench(t);
  for (let nth = 1; nth <= 5; nth++) fileSystem.fail('ENOSPC', { label: 'l0:write', nth });
  publisher.start(transactionOf(2, 7), PAGE);
  for (let tries = 0; tries < 5; tries++) {
    await assert.rejects(publisher.settled(), { code: 'ERR_DISK_FULL' });
    publisher.retry();
  }
  await publisher.settled();
  assert.deepEqual(published, [1n]);
});

test('a dropped transaction leaves no file and gives its number to the next', async (t) => {
  const { publisher, files, names } = await openBench(t);
  publisher.start(transactionOf(5_000, 1), PAGE);
  await publisher.drop();
  assert.equal(publisher.busy, false);
  assert.equal(publisher.failure, undefined);
  assert.deepEqual(names(), []);
  publisher.start(transactionOf(1, 9), PAGE);
  await publisher.settled();
  assert.equal(readLocal(files, toTxid(1)).pages[0]?.data[0], 9);
});

test('a transaction on its way can be made independent of the WAL', async (t) => {
  const { publisher } = await openBench(t);
  assert.equal(publisher.gather(), true, 'nothing is on its way');
  publisher.start({ ...transactionOf(1, 1), gather: () => false }, PAGE);
  assert.equal(publisher.gather(), false);
  await publisher.settled();
  assert.equal(publisher.gather(), true);
});
