/** `litestream verify` beside the application and the daemon: it finds what is planted, disturbs nobody, and never cries wolf. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { get } from '../support/http.ts';
import { Daemon, OURS, runProgram } from '../support/program.ts';
import { needReference } from '../support/reference.ts';
import { filesOf } from '../support/replica-folder.ts';
import { waitFor } from '../support/wait.ts';
import { Scene, SLOW } from './scene.ts';

interface Report {
  readonly ok: boolean;
  readonly verified_txid: string | null;
  readonly checks: readonly { name: string; status: string; detail: string }[];
  readonly findings: readonly { kind: string; severity: string; message: string }[];
}

function verify(scene: Scene, ...flags: string[]): { status: number | null; report: Report } {
  const args = ['verify', '-json', '-config', scene.config, ...flags, scene.database];
  const { status, stderr, stdout } = runProgram(OURS, ...args);
  assert.notEqual(stdout, '', stderr);
  return { status, report: JSON.parse(stdout) as Report };
}

function statusOf({ checks }: Report, name: string): string | undefined {
  return checks.find((check) => check.name === name)?.status;
}

/** Not so: a source that moved on. */
function isAlarm({ kind }: { readonly kind: string }): boolean {
  return kind !== 'source-unproven';
}

/** Levels and snapshots every few seconds, and nothing is kept for long. */
function hurry(scene: Scene): void {
  const text = readFileSync(scene.config, 'utf8').replace(
    'l0-retention: 1h',
    'l0-retention: 1s\nl0-retention-check-interval: 200ms\nlevels: [{interval: 1s}, {interval: 3s}]\nsnapshot: {interval: 4s, retention: 4s}',
  );
  writeFileSync(scene.config, text);
}

test('a replica that is written, compacted and deleted from meanwhile gives no alarm', async (t) => {
  const scene = new Scene(t, { database: ['min-checkpoint-page-count: 50'] });
  hurry(scene);
  const application = await scene.application();
  const daemon = scene.start();
  await scene.converged();
  await application.run({ seed: 5, pauseMs: 2, maxRows: 2000 });
  let pinned = 0;
  const runs = SLOW ? 60 : 8;
  for (let n = 0; n < runs; n++) {
    const { report, status } = verify(scene, n % 2 === 0 ? '-full' : '-rate-limit=10000000');
    assert.deepEqual(report.findings.filter(isAlarm), []);
    assert.equal(status, 0);
    const source = report.checks.find(({ name }) => name === 'source');
    if (source?.status === 'ok' && source.detail.includes('at TXID')) pinned++;
    await sleep(400);
  }
  assert.ok(pinned > 0, 'some runs compare with the source at a pinned TXID');
  t.diagnostic(`${pinned} of ${runs} runs pinned the source`);
  const { errors, locked } = await application.pause();
  assert.deepEqual({ errors, locked }, { errors: [], locked: 0 });
  await scene.converged();
  assert.deepEqual(scene.fullLines(), [], 'custody was not disturbed');
  daemon.assertRunning();
});

test('damage ends with status 1 and says what, where, and what to do', async (t) => {
  const scene = new Scene(t, { top: ['levels: []'] });
  const application = await scene.application();
  const daemon = scene.start();
  await scene.converged();
  // From here on level 0 alone holds what is written.
  await waitFor(() => filesOf(scene.replica, 9).length > 0, { what: 'the first snapshot' });
  await application.insert(5);
  await scene.converged();
  await daemon.stop();
  assert.equal(verify(scene).status, 0);
  const last = filesOf(scene.replica).at(-1);
  assert.ok(last);
  const bytes = readFileSync(last.path);
  const at = bytes.length - 1;
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  writeFileSync(last.path, bytes);
  const { report, status } = verify(scene);
  assert.equal(status, 1);
  assert.equal(report.ok, false);
  assert.deepEqual(
    report.findings.map(({ kind }) => kind),
    ['corrupt', 'not-restorable'],
  );
  const { stdout, status: plain } = runProgram(OURS, 'verify', `file://${scene.replica}`);
  assert.equal(plain, 1);
  assert.match(
    stdout,
    new RegExp(`DAMAGE: level 0 file ${last.minTxid}-${last.maxTxid}.ltx: .*checksum`),
  );
  assert.match(stdout, /restore points affected: TXID/);
  assert.match(stdout, /remedy: write a new snapshot/);
  assert.match(stdout, /The replica is damaged: 2 findings\./);
});

test('a source that nobody replicates is compared, and told apart from damage when it has moved on', async (t) => {
  const scene = new Scene(t);
  const application = await scene.application();
  const daemon = scene.start();
  await scene.converged();
  await daemon.stop();
  assert.equal(statusOf(verify(scene).report, 'source'), 'ok');
  await application.insert(10);
  const { report, status } = verify(scene);
  assert.equal(status, 0);
  assert.deepEqual(
    report.findings.map(({ kind }) => kind),
    ['source-unproven'],
  );
  // The next start goes on where the last ended: the look has not cost the WAL.
  scene.start();
  await scene.converged();
  assert.deepEqual(scene.fullLines(), []);
});

test('a replica of another database is recognised', async (t) => {
  const [one, two] = [new Scene(t), new Scene(t)];
  await one.application();
  await two.application({ rows: 500 });
  const daemons = [one.start(), two.start()];
  await one.converged();
  await two.converged();
  for (const daemon of daemons) await daemon.stop();
  const text = readFileSync(one.config, 'utf8').replace(one.replica, two.replica);
  writeFileSync(one.config, text);
  const { report, status } = verify(one);
  assert.equal(status, 1);
  assert.deepEqual(
    report.findings.map(({ kind }) => kind),
    ['foreign'],
  );
});

test('the daemon verifies on schedule: log, metrics and status tell what it found', async (t) => {
  const scene = new Scene(t, {
    top: ['validation-interval: 1s', 'validation: {interval: 500ms}', 'addr: "127.0.0.1:0"'],
  });
  const application = await scene.application();
  const daemon = scene.start();
  await waitFor(() => / msg="replica verified" .* source=ok/.test(daemon.log), {
    what: 'a verification that compared with the source',
    timeoutMs: 60_000,
  });
  assert.match(daemon.log, /level=INFO msg="starting validation monitor" .*interval=500ms/);
  const [, url = ''] = /msg="serving metrics on" .*?url=(\S+)/.exec(daemon.log) ?? [];
  const { text: good } = await get(url);
  assert.match(good, /^litestream_last_verified_timestamp\{.*\} \d/m);
  assert.match(good, /^litestream_verify_damage\{.*replica="file"\} 0$/m);
  const status = (): string => runProgram(OURS, 'status', '-config', scene.config).stdout;
  assert.match(status(), /app\.db: replica file verified 20\d\d-.*, TXID 0/);
  await application.run({ seed: 8, pauseMs: 20 });
  await waitFor(() => filesOf(scene.replica).length > 5, { what: 'some files' });
  const [, victim] = filesOf(scene.replica);
  assert.ok(victim);
  const bytes = readFileSync(victim.path);
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
  writeFileSync(victim.path, bytes);
  const line = new RegExp(`level=ERROR msg="replica is damaged".*${victim.maxTxid}.*remedy=`);
  await waitFor(() => line.test(daemon.log), { what: 'the error line', timeoutMs: 60_000 });
  await waitFor(() => status().includes('DAMAGED'), { what: 'the status' });
  const health = async (): Promise<number> => (await get(new URL('healthz', url).href)).status;
  await waitFor(async () => (await health()) === 503, { what: 'the health check to fail' });
  assert.match(status(), / unhealthy /);
  const { text: bad } = await get(url);
  assert.match(bad, /^litestream_unhealthy\{.*\} 1$/m);
  assert.match(bad, /^litestream_verify_damage\{.*\} [1-9]/m);
  assert.match(bad, /^litestream_verify_count\{.*result="damage"\} [1-9]/m);
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
  writeFileSync(victim.path, bytes);
  const healed = 'the health check to succeed again';
  await waitFor(async () => (await health()) === 200, { what: healed, timeoutMs: 60_000 });
  assert.doesNotMatch(status(), /DAMAGED|unhealthy/);
  const { errors, locked } = await application.pause();
  assert.deepEqual({ errors, locked }, { errors: [], locked: 0 });
  await daemon.stop();
  assert.doesNotMatch(daemon.log, /validation error detected/);
});

test('wrong calls are refused', () => {
  for (const args of [['verify'], ['verify', '-quick', '-full', 'file:///nothing']]) {
    const { status, stderr } = runProgram(OURS, ...args);
    assert.equal(status, 1);
    assert.match(stderr, /^Error: /);
  }
  const { status, stdout } = runProgram(OURS, 'verify', '-quick', 'file:///nothing/here');
  assert.equal(status, 1);
  assert.match(stdout, /the replica is empty/);
});

test('a replica that Litestream writes meanwhile gives no alarm', async (t) => {
  const reference = await needReference(t);
  if (reference === undefined) return;
  const scene = new Scene(t);
  hurry(scene);
  const application = await scene.application();
  const daemon = new Daemon(t, reference, 'replicate', '-config', scene.config);
  await application.run({ seed: 6, pauseMs: 5, maxRows: 500 });
  await waitFor(() => filesOf(scene.replica, 9).length > 1, { what: 'a second snapshot' });
  for (let n = 0; n < 4; n++) {
    const { report, status } = verify(scene);
    assert.deepEqual(report.findings.filter(isAlarm), []);
    assert.equal(status, 0);
  }
  await application.pause();
  await daemon.stop();
  const { report } = verify(scene, '-full');
  assert.deepEqual(report.findings.filter(isAlarm), []);
  assert.equal(statusOf(report, 'source'), 'ok');
});
