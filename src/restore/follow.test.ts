import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import test, { type TestContext } from 'node:test';
import { formatTxid } from '../formats/ltx/index.ts';
import { sleep, systemClock } from '../lib/clock.ts';
import { type FileSystem, nodeFileSystem } from '../lib/file-system.ts';
import type { LogAttributes } from '../telemetry/index.ts';
import { FaultyFileSystem, fileKey, MemoryClient } from '../testing/index.ts';
import { followReplica, type FollowResult } from './index.ts';
import { encodeTestFile, mergeFiles, putBytes, putFile, type TestFile } from './test-replica.ts';
import { SourceDatabase } from '../../test/support/source-database.ts';
import { checkedLogger } from '../../test/support/guarded.ts';

const FILL =
  'WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 20) ' +
  'INSERT INTO t SELECT NULL, randomblob(100) FROM s';

interface Line {
  readonly message: string;
  readonly attributes: LogAttributes;
}

/** A source, its replica, and a follower of that. */
class Scene {
  readonly source: SourceDatabase;
  readonly client = new MemoryClient();
  readonly output: string;
  readonly lines: Line[] = [];
  #stop = new AbortController();
  #running: Promise<FollowResult> | undefined;

  constructor(t: TestContext) {
    const folder = mkdtempSync(join(tmpdir(), 'follow-'));
    this.source = new SourceDatabase(join(folder, 'source.db'));
    this.output = join(folder, 'out.db');
    t.after(async () => {
      this.#stop.abort();
      await this.#running?.catch(() => undefined);
      this.source.close();
      rmSync(folder, { recursive: true, force: true });
    });
  }

  get bookmark(): string {
    return readFileSync(`${this.output}-txid`, 'utf8');
  }

  async put(...files: readonly TestFile[]): Promise<void> {
    for (const file of files) await putFile(this.client, file, this.source.pageSize);
  }

  async delete(...files: readonly TestFile[]): Promise<void> {
    await this.client.delete(files.map(({ level, min, max }) => fileKey(level, min, max)));
  }

  start(intervalMs = 5, fileSystem: FileSystem = nodeFileSystem): void {
    const logger = checkedLogger((_level, message, attributes = {}) => {
      this.lines.push({ message, attributes });
    });
    this.#stop = new AbortController();
    this.#running = followReplica({
      client: this.client,
      outputPath: this.output,
      fileSystem,
      clock: systemClock,
      logger,
      signal: this.#stop.signal,
      intervalMs,
    });
    this.#running.catch(() => undefined);
  }

  async stop(): Promise<FollowResult> {
    this.#stop.abort();
    assert.ok(this.#running);
    return await this.#running;
  }

  /** What the follower ended with by itself. */
  async failure(): Promise<unknown> {
    assert.ok(this.#running);
    return await this.#running.then(
      () => assert.fail('the follower went on'),
      (error: unknown) => error,
    );
  }

  /** Waits until the follower has the source's last state, and compares. */
  async caughtUp(): Promise<void> {
    await this.until(() => this.#isAt(this.source.txid), `TXID ${this.source.txid}`);
    const found = readFileSync(this.output);
    const wanted = Buffer.concat(this.source.image);
    for (const bytes of [found, wanted]) {
      bytes.fill(0, 18, 20);
      bytes.fill(0, 24, 32);
      bytes.fill(0, 92, 96);
    }
    assert.ok(found.equals(wanted), 'the follower holds the state of the source');
  }

  async until(test: () => boolean, what: string): Promise<void> {
    const end = performance.now() + 20_000;
    while (!test()) {
      assert.ok(performance.now() < end, `in vain: ${what}\n${JSON.stringify(this.messages)}`);
      await sleep(systemClock, 5);
    }
  }

  get messages(): string[] {
    return this.lines.map(({ message, attributes }) => {
      const { err } = attributes;
      return typeof err === 'string' ? `${message}: ${err}` : message;
    });
  }

  #isAt(txid: number): boolean {
    return existsSync(`${this.output}-txid`) && this.bookmark === `${formatTxid(BigInt(txid))}\n`;
  }
}

async function started(t: TestContext): Promise<Scene> {
  const scene = new Scene(t);
  await scene.put(scene.source.commit('CREATE TABLE t (id INTEGER PRIMARY KEY, v)'));
  await scene.put(scene.source.commit(FILL));
  scene.start();
  await scene.caughtUp();
  return scene;
}

test('the output is in rollback mode from the moment it has its name', async (t) => {
  const scene = new Scene(t);
  await scene.put(scene.source.commit('CREATE TABLE t (id INTEGER PRIMARY KEY, v)'));
  scene.start(1000);
  await scene.until(() => existsSync(scene.output), 'the output');
  assert.deepEqual([...readFileSync(scene.output).subarray(18, 20)], [1, 1]);
});

test('files are applied as they come, and logged', async (t) => {
  const scene = await started(t);
  await scene.put(scene.source.commit(FILL));
  await scene.caughtUp();
  await scene.put(scene.source.run('DELETE FROM t WHERE id > 3'), scene.source.run('VACUUM'));
  await scene.caughtUp();
  assert.equal((await scene.stop()).txid, 5n);
  assert.equal(scene.lines[0]?.message, 'entering follow mode');
  assert.equal(scene.messages.at(-1), 'follow mode stopped');
  const applied = scene.lines.filter(({ message }) => message === 'follow: applied updates');
  assert.deepEqual(applied[0]?.attributes, { from_txid: 2n, to_txid: 3n });
  assert.ok(!existsSync(`${scene.output}-journal`));
});

test('I6 an open reader sees a transaction that does not touch page 1', async (t) => {
  const scene = await started(t);
  const reader = new DatabaseSync(scene.output, { readOnly: true });
  t.after(() => reader.close());
  const query = reader.prepare("SELECT count(*) AS n FROM t WHERE v = 'new'");
  assert.equal(query.get()?.['n'], 0);
  const update = scene.source.commit("UPDATE t SET v = 'new' WHERE id < 8");
  assert.ok(!update.pages.some(({ pgno }) => pgno === 1));
  await scene.put(update);
  await scene.caughtUp();
  assert.equal(query.get()?.['n'], 7);
});

test('a follower goes on where it stopped, although it is ahead of every snapshot', async (t) => {
  const scene = await started(t);
  await scene.put(scene.source.snapshot());
  await scene.put(scene.source.commit(FILL));
  await scene.caughtUp();
  await scene.stop();
  await scene.put(scene.source.commit(FILL));
  scene.start();
  await scene.caughtUp();
  assert.ok(scene.messages.includes('resuming follow mode from crash recovery'));
});

test('a pruned level 0 is bridged by whatever file covers the next transaction', async (t) => {
  const scene = await started(t);
  await scene.stop();
  const files = [1, 2, 3, 4].map(() => scene.source.commit(FILL));
  const [a, b, c, d] = files;
  assert.ok(a && b && c && d);
  await scene.put(mergeFiles([a, b], 1), c, d);
  scene.start();
  await scene.caughtUp();
  await scene.stop();
  // Straddles the follower's position, and level 0 is empty.
  const e = scene.source.commit(FILL);
  await scene.put(mergeFiles([c, d, e], 2));
  await scene.delete(c, d);
  scene.start();
  await scene.caughtUp();
});

test('a follower that history was pruned past goes on from a snapshot', async (t) => {
  const scene = await started(t);
  for (let n = 0; n < 3; n += 1) scene.source.commit(FILL);
  scene.source.run('DELETE FROM t WHERE id < 30');
  await scene.put(scene.source.snapshot());
  await scene.put(scene.source.commit(FILL));
  await scene.caughtUp();
  assert.ok(scene.messages.includes('follow: history was pruned, going on from a snapshot'));
});

test('a hole that nothing covers is reported, once, and ends when it is filled', async (t) => {
  const scene = await started(t);
  const lost = scene.source.commit(FILL);
  await scene.put(scene.source.commit(FILL));
  const text =
    'follow: error applying updates: follow mode has stalled: non-contiguous ltx files: ' +
    'have up to 0000000000000002 but next file starts at 0000000000000004';
  await scene.until(() => scene.messages.includes(text), 'the report');
  await sleep(systemClock, 100);
  assert.equal(scene.messages.filter((message) => message === text).length, 1);
  assert.equal(scene.bookmark, '0000000000000002\n');
  await scene.put(lost);
  await scene.caughtUp();
});

test('I6 a damaged file is reported and leaves no trace, a good copy of it is applied', async (t) => {
  const scene = await started(t);
  const before = readFileSync(scene.output);
  const file = scene.source.commit(FILL);
  const bytes = encodeTestFile(file, scene.source.pageSize);
  bytes[bytes.length - 3] = (bytes.at(-3) ?? 0) ^ 1;
  await putBytes(scene.client, file, bytes);
  await scene.until(
    () => scene.messages.some((message) => message.startsWith('follow: error applying updates')),
    'the report',
  );
  const at = scene.messages.findIndex((message) => message.startsWith('follow: error'));
  assert.match(scene.messages[at] ?? '', /level=0 min=0{15}3.*checksum/);
  assert.equal(scene.lines[at]?.attributes['consecutive_errors'], 1);
  assert.deepEqual(readFileSync(scene.output), before);
  assert.equal(scene.bookmark, '0000000000000002\n');
  await scene.put(file);
  await scene.caughtUp();
});

test('a resume is refused without a bookmark, or with one that the replica cannot lead on from', async (t) => {
  const scene = await started(t);
  await scene.stop();
  const refusal = async (): Promise<string> => {
    scene.start();
    const error = await scene.failure();
    return error instanceof Error ? error.message : '';
  };
  const { output } = scene;
  writeFileSync(`${output}-txid`, '0000000000000009\n');
  assert.equal(
    await refusal(),
    'cannot resume follow mode: saved TXID 0000000000000009 is ahead of latest snapshot ' +
      `(max TXID 0000000000000002); delete ${output} and ${output}-txid to re-restore`,
  );
  writeFileSync(`${output}-txid`, 'nonsense\n');
  assert.match(await refusal(), /^read txid file for crash recovery: invalid formatted/);
  rmSync(`${output}-txid`);
  assert.equal(
    await refusal(),
    'cannot resume follow mode: database exists but no -txid file found; ' +
      `delete the database to re-restore: ${output}`,
  );
  writeFileSync(`${output}-txid`, '0000000000000002\n');
  scene.source.commit(FILL);
  await scene.put(scene.source.commit(FILL));
  assert.equal(
    await refusal(),
    'cannot resume follow mode: saved TXID 0000000000000002 is behind the earliest snapshot ' +
      '(min TXID 0000000000000004); replica history has been pruned -- ' +
      `delete ${output} and ${output}-txid to re-restore`,
  );
});

test('a bookmark without a database is that of a deleted one', async (t) => {
  const scene = await started(t);
  await scene.stop();
  rmSync(scene.output);
  writeFileSync(`${scene.output}-wal`, 'left by a reader');
  scene.start();
  await scene.until(() => existsSync(scene.output), 'the output');
  await scene.caughtUp();
  assert.ok(!existsSync(`${scene.output}-wal`));
});

test('a file too large for memory is verified on the disk first', async (t) => {
  const scene = await started(t);
  const file = scene.source.commit(`INSERT INTO t VALUES (NULL, randomblob(9000000))`);
  await scene.put(file);
  await scene.caughtUp();
  await scene.stop();
  assert.ok(!existsSync(`${scene.output}.tmp`));
});

test('an output that disappears ends following', async (t) => {
  const scene = await started(t);
  await scene.until(() => scene.messages.includes('entering follow mode'), 'follow mode');
  rmSync(scene.output);
  const error = await scene.failure();
  assert.match(error instanceof Error ? error.message : '', /was removed/);
});

test('I7 a follower that dies at any call of an update goes on with the right state', async (t) => {
  const scene = await started(t);
  await scene.stop();
  const fileSystem = new FaultyFileSystem(nodeFileSystem);
  for (let nth = 1, wasHit = true; wasHit; nth += 1) {
    const after = nth % 2 === 0;
    await scene.put(scene.source.commit(`${FILL}; DELETE FROM t WHERE id % 7 = ${nth % 7}`));
    const isDone = (): boolean =>
      fileSystem.crashed || scene.messages.at(-1) === 'follow: applied updates';
    fileSystem.reset();
    fileSystem.crash({ nth, after });
    scene.lines.length = 0;
    scene.start(1000, fileSystem);
    await scene.until(isDone, `call ${nth}`);
    wasHit = fileSystem.crashed;
    await scene.stop().catch(() => undefined);
    scene.start();
    await scene.caughtUp();
    await scene.stop();
  }
  assert.ok(fileSystem.calls.includes('follow:bookmark-rename'));
});
