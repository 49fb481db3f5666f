/** Both programs take turns on one database, one replica and one metadata folder; the application never stops. */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { AppDatabase, contentOf, integrityOf } from '../support/app-database.ts';
import { OURS, type Program } from '../support/program.ts';
import { needReference } from '../support/reference.ts';
import { fileDigest, filesOf, lastTxid, restoreWith } from '../support/replica-folder.ts';
import { tempDir } from '../support/temp-dir.ts';
import { makeSite, Stint, type Site } from './stint.ts';

interface Stage {
  readonly t: TestContext;
  readonly site: Site;
  readonly app: AppDatabase;
  readonly reference: Program;
  /** Who replicates, in order. */
  readonly turns: readonly Program[];
}

/** Either program's restore equals the live database, and both give the same bytes; the digest of these. */
function assertBothRestore({ site, app, reference }: Stage, tag: string): string {
  const [ours, theirs] = [OURS, reference].map((program, n) =>
    restoreWith(program, site.replica, join(site.folder, `${tag}-${n}.db`)),
  ) as [string, string];
  assert.equal(fileDigest(ours), fileDigest(theirs), `different bytes: ${tag}`);
  assert.equal(integrityOf(ours), 'ok');
  assert.equal(contentOf(ours), contentOf(app.path), `not the live database: ${tag}`);
  return fileDigest(ours);
}

/** The same test twice: the reference hands over to us and takes back, and the other way round. */
function bothWays(name: string, body: (stage: Stage) => Promise<void>): void {
  for (const oursFirst of [false, true]) {
    const order = oursFirst ? 'ours, theirs, ours' : 'theirs, ours, theirs';
    test(`${name} (${order})`, async (t) => {
      const reference = await needReference(t);
      if (reference === undefined) return;
      const folder = tempDir(t);
      const [a, b] = oursFirst ? [OURS, reference] : [reference, OURS];
      const app = new AppDatabase(t, join(folder, 'app.db'), { rows: 200 });
      await body({ t, site: makeSite(folder), app, reference, turns: [a, b, a] });
    });
  }
}

bothWays('a handover with writes in between loses nothing and keeps every point', async (stage) => {
  const { t, site, app, turns } = stage;
  const points = new Map<number, string>();
  for (const [n, program] of turns.entries()) {
    const stint = await Stint.start(t, program, site, app);
    await stint.write(3);
    await stint.stop();
    points.set(lastTxid(site.replica), assertBothRestore(stage, `turn-${n}`));
    app.insert(7);
  }
  const numbers = filesOf(site.replica).map((file) => Number.parseInt(file.minTxid, 16));
  assert.deepEqual(
    numbers,
    numbers.map((_number, at) => at + 1),
    'level 0 is dense',
  );
  for (const [txid, digest] of points) {
    const hex = txid.toString(16).padStart(16, '0');
    for (const program of [OURS, stage.reference]) {
      const output = join(site.folder, `back-${hex}-${program === OURS ? 0 : 1}.db`);
      assert.equal(
        fileDigest(restoreWith(program, site.replica, output, '-txid', hex)),
        digest,
        `${program.name} at ${hex}`,
      );
    }
  }
});

bothWays('with the WAL intact the next program writes increments only', async (stage) => {
  const { t, site, app, turns } = stage;
  app.insert(500, 1000);
  let whole: number | undefined;
  for (const program of turns) {
    const first = lastTxid(site.replica) + 1;
    const stint = await Stint.start(t, program, site, app);
    await stint.write(2, 1);
    await stint.stop();
    const own = filesOf(site.replica).slice(first - 1);
    if (whole === undefined) {
      whole = own[0]?.size ?? 0;
    } else {
      const largest = Math.max(...own.map((file) => file.size));
      assert.ok(largest < whole / 5, `${program.name} wrote ${largest} bytes, all are ${whole}`);
    }
    app.insert();
  }
});

bothWays('a WAL that was truncated while nobody watched is noticed', async (stage) => {
  const { t, site, app, turns } = stage;
  for (const [n, program] of turns.entries()) {
    const stint = await Stint.start(t, program, site, app);
    await stint.write(2);
    await stint.stop();
    assertBothRestore(stage, `turn-${n}`);
    app.insert(9);
    app.checkpoint('TRUNCATE');
    app.insert(2);
  }
});

bothWays('a killed program hands over as well', async (stage) => {
  const { t, site, app, turns } = stage;
  for (const program of turns) {
    const stint = await Stint.start(t, program, site, app);
    await stint.write(2);
    await stint.daemon.kill();
    app.insert(20);
  }
  const last = await Stint.start(t, stage.turns[1] ?? OURS, site, app);
  await last.stop();
  assertBothRestore(stage, 'end');
});

bothWays('without the metadata folder the history continues at the next TXID', async (stage) => {
  const { t, site, app, turns } = stage;
  let last = 0;
  for (const [n, program] of turns.entries()) {
    const stint = await Stint.start(t, program, site, app);
    await stint.write(2);
    await stint.stop();
    assertBothRestore(stage, `turn-${n}`);
    assert.ok(lastTxid(site.replica) > last);
    last = lastTxid(site.replica);
    rmSync(join(site.folder, '.app.db-litestream'), { recursive: true });
  }
});
