/** SIGKILL before and after every labelled file operation of capture, upload, compaction, snapshots, retention and restore. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { AppDatabase, contentOf, integrityOf } from '../support/app-database.ts';
import type { DeadlyOrder } from '../support/deadly-child.ts';
import { DAEMON, LOOK, RESTORE } from '../support/kill-labels.ts';
import { tempDir } from '../support/temp-dir.ts';

const CHILD = join(import.meta.dirname, '../support/deadly-child.ts');
/** A run lasts until upkeep has done everything once, however slow the machine is. */
const RUN_MS_MAX = 90_000;
/** What has to come up, or the test would prove nothing: capture and upload, compaction, snapshots, retention. */
const EXPECTED = [
  'l0:open',
  'l0:write',
  'l0:fsync',
  'l0:rename',
  'l0:fsync-dir',
  'l0:remove',
  'file:sync',
  'file:sync-directory',
  'file:delete',
  ...['file:sync', 'file:rename', 'file:sync-directory'].flatMap((label) =>
    [1, 2, 9].map((level) => `${label} level ${level}`),
  ),
  'file:write level 1',
  'file:write level 2',
  'file:delete level 1',
  'file:delete level 9',
  'spool:open',
  'spool:write',
  'spool:remove',
];

/** Each part is a test of its own, so that none takes long. */
const PARTS = 4;

interface Ended {
  readonly signal: NodeJS.Signals | null;
  readonly code: number | null;
  readonly counts: ReadonlyMap<string, number>;
}

async function run(t: TestContext, order: DeadlyOrder): Promise<Ended> {
  const child = spawn(process.execPath, [CHILD, JSON.stringify(order)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  const pieces: Buffer[] = [];
  child.stdout.on('data', (piece: Buffer) => void pieces.push(piece));
  await once(child, 'close');
  const text = Buffer.concat(pieces).toString();
  const counts = new Map(text === '' ? [] : (JSON.parse(text) as [string, number][]));
  return { signal: child.signalCode, code: child.exitCode, counts };
}

/** An application whose changes are too large for a spool to stay in memory. */
function application(t: TestContext, path: string): { app: AppDatabase; stop: () => void } {
  const app = new AppDatabase(t, path, { rows: 600 });
  app.insert(500, 4000);
  const timer = setInterval(() => {
    app.insert(40, 4000);
    app.exec('DELETE FROM t WHERE id < (SELECT max(id) FROM t) - 900');
  }, 40);
  t.after(() => clearInterval(timer));
  return { app, stop: () => clearInterval(timer) };
}

/** Whatever the level. */
function assertCameUp({ counts }: Ended, labels: readonly string[]): void {
  const seen = new Set([...counts.keys()].map((label) => label.replace(/ level \d$/, '')));
  assert.deepEqual(
    labels.filter((label) => !seen.has(label)),
    [],
  );
}

function assertNoRemains(database: string): void {
  const local = readdirSync(`${database}-meta/ltx/0`);
  assert.deepEqual(
    local.filter((name) => !name.endsWith('.ltx')),
    [],
  );
}

/** The operations of one part of the points; at the higher levels those that change what is there. */
function pointsOf({ counts }: Ended, part: number, after: boolean): readonly string[] {
  return [...counts.keys()]
    .filter((label) => !label.includes(' level ') || EXPECTED.includes(label))
    .filter((label) => !(after && LOOK.test(label)))
    .toSorted()
    .filter((_label, at) => at % PARTS === part);
}

for (let point = 0; point < 2 * PARTS; point += 1) {
  const after = point % 2 === 1;
  const part = Math.floor(point / 2);
  const moment = after ? 'after' : 'before';
  test(`the daemon dies ${moment} each file operation, and nothing is lost (${part + 1} of ${PARTS})`, async (t) => {
    const folder = tempDir(t);
    const database = join(folder, 'app.db');
    const replica = join(folder, 'replica');
    const { stop } = application(t, database);
    const base: DeadlyOrder = {
      what: 'replicate',
      database,
      replica,
      ms: RUN_MS_MAX,
      until: EXPECTED,
    };
    const survey = await run(t, base);
    assert.equal(survey.code, 0);
    for (const label of EXPECTED) assert.ok(survey.counts.has(label), `${label} came up`);
    assertCameUp(survey, DAEMON);
    let hits = 0;
    const labels = pointsOf(survey, part, after);
    for (const [at, label] of labels.entries()) {
      const nth = 1 + (at % Math.min(3, survey.counts.get(label) ?? 1));
      const dead = await run(t, { ...base, label, nth, after });
      if (dead.signal === 'SIGKILL') hits++;
      else assert.equal(dead.code, 0, label);
    }
    // Some come up only at a first start.
    assert.ok(hits > labels.length * 0.6, `${hits} of ${labels.length} points were reached`);
    stop();
    assert.equal((await run(t, { ...base, what: 'settle' })).code, 0);
    const output = join(folder, 'restored.db');
    assert.equal((await run(t, { ...base, what: 'restore', output })).code, 0);
    assert.equal(integrityOf(output), 'ok');
    assert.equal(contentOf(output), contentOf(database));
    assertNoRemains(database);
    t.diagnostic(`${hits} of ${labels.length} points were reached`);
  });
}

for (const after of [false, true]) {
  const moment = after ? 'after' : 'before';
  test(`a restore dies ${moment} each file operation; the next one completes it`, async (t) => {
    const folder = tempDir(t);
    const database = join(folder, 'app.db');
    const replica = join(folder, 'replica');
    const { stop } = application(t, database);
    assert.equal((await run(t, { what: 'replicate', database, replica, ms: 1500 })).code, 0);
    stop();
    assert.equal((await run(t, { what: 'settle', database, replica })).code, 0);
    const wanted = contentOf(database);
    const output = join(folder, 'restored.db');
    const order: DeadlyOrder = { what: 'restore', database, replica, output };
    const survey = await run(t, order);
    assert.equal(survey.code, 0);
    assertCameUp(survey, RESTORE);
    const take = (label: string): void => {
      assert.equal(contentOf(output), wanted, label);
      // Looking at a database in WAL mode leaves these beside it.
      for (const suffix of ['', '-wal', '-shm']) rmSync(`${output}${suffix}`, { force: true });
    };
    take('survey');
    for (const label of survey.counts.keys()) {
      const dead = await run(t, { ...order, label, after });
      assert.ok(dead.signal === 'SIGKILL' || dead.code === 0, label);
      // What has the database's name is the database.
      if (existsSync(output)) take(label);
      assert.equal((await run(t, order)).code, 0, label);
      take(label);
    }
    const remains = readdirSync(folder).filter((name) => name.startsWith('restored.db'));
    assert.deepEqual(remains, []);
  });
}
