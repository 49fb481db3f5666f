/** A database whose first file no level repeats: the reference restores every point of it, and goes on with it. */
import assert from 'node:assert/strict';
import { appendFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { AppDatabase, contentOf, integrityOf } from '../support/app-database.ts';
import { OURS, type Program } from '../support/program.ts';
import { needReference } from '../support/reference.ts';
import { fileDigest, filesOf, restoreWith } from '../support/replica-folder.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait.ts';
import { makeSite, Stint, type Site } from './stint.ts';

const FIRST = `${'1'.padStart(16, '0')}-${'1'.padStart(16, '0')}.ltx`;
const LEVELS = [1, 2, 3];

/** About 8 MB that cannot be compressed. */
function makeLarge(t: TestContext): { readonly site: Site; readonly app: AppDatabase } {
  const folder = tempDir(t);
  const site = makeSite(folder);
  appendFileSync(
    site.config,
    'levels: [{ interval: 1s }, { interval: 2s }, { interval: 3s }]\nsnapshot: { interval: 24h, retention: 24h }\n',
  );
  const app = new AppDatabase(t, join(folder, 'app.db'), { rows: 1 });
  app.insert(2000, 4000);
  return { site, app };
}

/** Restores with both and asserts equal bytes; the path of our copy. */
function restoreAlike(
  reference: Program,
  { folder, replica }: Site,
  tag: string,
  ...options: string[]
): string {
  const [ours, theirs] = [OURS, reference].map((program, n) =>
    restoreWith(program, replica, join(folder, `${tag}-${n}.db`), ...options),
  ) as [string, string];
  assert.equal(fileDigest(ours), fileDigest(theirs), `different bytes: ${tag}`);
  rmSync(theirs);
  return ours;
}

function assertLatest(reference: Program, site: Site, tag: string): void {
  const latest = restoreAlike(reference, site, tag);
  assert.equal(integrityOf(latest), 'ok', tag);
  assert.equal(contentOf(latest), contentOf(join(site.folder, 'app.db')), tag);
  rmSync(latest);
}

function bytesOf(replica: string, level: number): number {
  return filesOf(replica, level).reduce((sum, { size }) => sum + size, 0);
}

function lastOf(replica: string, level: number): string {
  return filesOf(replica, level).at(-1)?.maxTxid ?? '';
}

/** Until each level has what was committed before. */
async function settled({ replica }: Site, { daemon }: Stint): Promise<void> {
  const wanted = lastOf(replica, 0);
  for (const level of LEVELS) {
    const what = `level ${level} up to ${wanted}`;
    await waitFor(
      () => {
        daemon.assertRunning();
        return lastOf(replica, level) >= wanted;
      },
      { what, timeoutMs: 60_000 },
    );
  }
}

test('CMP-06 the reference restores every point of a large database, and goes on with its replica', async (t) => {
  const reference = await needReference(t);
  if (reference === undefined) return;
  const { app, site } = makeLarge(t);
  const { replica } = site;
  const ours = await Stint.start(t, OURS, site, app);
  await waitFor(() => filesOf(replica, 9).length > 0, { what: 'the snapshot', timeoutMs: 60_000 });
  for (let n = 0; n < 3; n++) {
    await ours.write(2);
    await settled(site, ours);
  }
  await ours.stop();

  assert.deepEqual(
    filesOf(replica, 9).map(({ name }) => name),
    [FIRST],
  );
  for (const level of LEVELS) {
    assert.equal(filesOf(replica, level)[0]?.minTxid, '2'.padStart(16, '0'), `level ${level}`);
  }
  const whole = bytesOf(replica, 9);
  const increments = bytesOf(replica, 0) - whole;
  const all = [0, ...LEVELS, 9].reduce((sum, level) => sum + bytesOf(replica, level), 0);
  assert.ok(all <= 2 * whole + 4 * increments, `${all} bytes for ${whole} and ${increments}`);

  const newest = lastOf(replica, 0);
  for (const [n, { maxTxid, modifiedMs }] of filesOf(replica).entries()) {
    if (n % 2 === 1) continue;
    rmSync(restoreAlike(reference, site, maxTxid, '-txid', maxTxid));
    // Behind the newest file there is no time.
    if (maxTxid === newest) continue;
    const when = new Date(Math.floor(modifiedMs) + 1).toISOString();
    rmSync(restoreAlike(reference, site, `time-${maxTxid}`, '-timestamp', when));
  }
  assertLatest(reference, site, 'latest');
  for (const { path } of filesOf(replica).slice(0, -1)) rmSync(path);
  assertLatest(reference, site, 'without-level-0');

  const theirs = await Stint.start(t, reference, site, app);
  await theirs.write(3);
  await settled(site, theirs);
  assert.doesNotMatch(theirs.daemon.log, /level=ERROR/);
  await theirs.stop();
  assertLatest(reference, site, 'theirs');
  const again = await Stint.start(t, OURS, site, app);
  await again.write(2);
  await settled(site, again);
  await again.stop();
  assertLatest(reference, site, 'ours-again');
});
