/** What one program writes, the other restores to the same bytes, at every point in time. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { OLDER_VERSIONS } from '../../tools/reference.ts';
import { AppDatabase, contentOf, integrityOf } from '../support/app-database.ts';
import { OURS, type Program } from '../support/program.ts';
import { needReference } from '../support/reference.ts';
import { fileDigest, filesOf, lastTxid, restoreWith } from '../support/replica-folder.ts';
import { tempDir } from '../support/temp-dir.ts';
import { makeSite, Stint, type Site } from './stint.ts';

/** Growth, updates, a mass deletion, VACUUM and growth again, replicated by `writer`. */
async function history(t: TestContext, writer: Program, pageSize: number): Promise<Site> {
  const folder = tempDir(t);
  const site = makeSite(folder);
  const app = new AppDatabase(t, join(folder, 'app.db'), { pageSize, rows: 60 });
  const stint = await Stint.start(t, writer, site, app);
  await stint.write(3, 10);
  await stint.replicate(() => {
    app.exec("UPDATE t SET v = 'changed' WHERE id % 3 = 0");
  });
  await stint.replicate(() => {
    app.exec('DELETE FROM t WHERE id % 10 <> 0');
  });
  await stint.replicate(() => {
    app.exec('VACUUM');
  });
  await stint.write(2, 40);
  await stint.stop();
  return site;
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
  assert.equal(integrityOf(ours), 'ok', tag);
  return ours;
}

function assertEveryPoint(reference: Program, site: Site): void {
  const latest = restoreAlike(reference, site, 'latest');
  assert.equal(contentOf(latest), contentOf(join(site.folder, 'app.db')));
  const files = filesOf(site.replica);
  assert.ok(files.length >= 8, `only ${files.length} files`);
  for (const { maxTxid } of files) restoreAlike(reference, site, maxTxid, '-txid', maxTxid);
  for (const [n, { modifiedMs }] of files.slice(0, -1).entries()) {
    if (n % 3 !== 1) continue;
    const when = new Date(Math.floor(modifiedMs) + 1).toISOString();
    restoreAlike(reference, site, `time-${n}`, '-timestamp', when);
  }
}

for (const pageSize of [512, 4096, 65_536]) {
  test(`we restore every point that the reference wrote, page size ${pageSize}`, async (t) => {
    const reference = await needReference(t);
    if (reference === undefined) return;
    assertEveryPoint(reference, await history(t, reference, pageSize));
  });

  test(`the reference restores every point that we wrote, page size ${pageSize}`, async (t) => {
    const reference = await needReference(t);
    if (reference === undefined) return;
    assertEveryPoint(reference, await history(t, OURS, pageSize));
  });
}

for (const version of OLDER_VERSIONS) {
  test(`RST-24 we restore what release ${version} wrote, at every TXID`, async (t) => {
    const reference = await needReference(t);
    const older = await needReference(t, version);
    if (reference === undefined || older === undefined) return;
    const site = await history(t, older, 4096);
    const latest = restoreAlike(reference, site, 'latest');
    assert.equal(contentOf(latest), contentOf(join(site.folder, 'app.db')));
    for (const { maxTxid } of filesOf(site.replica).filter((_file, n) => n % 2 === 0)) {
      restoreAlike(reference, site, maxTxid, '-txid', maxTxid);
    }
  });
}

test('a clean stop leaves nothing behind that was committed before it', async (t) => {
  const reference = await needReference(t);
  if (reference === undefined) return;
  const folder = tempDir(t);
  const site = makeSite(folder);
  const app = new AppDatabase(t, join(folder, 'app.db'));
  const stint = await Stint.start(t, OURS, site, app);
  for (let n = 0; n < 20; n += 1) app.insert();
  await stint.stop();
  assert.ok(lastTxid(site.replica) > 1);
  assert.equal(contentOf(restoreAlike(reference, site, 'end')), contentOf(app.path));
});
