/** `litestream doctor`, and the mistakes of the first hour: each ends in one message that says what to do. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { Scene } from '../integration/scene.ts';
import { Application } from '../support/application.ts';
import { FakeS3 } from '../support/fake-s3/index.ts';
import { Daemon, OURS, runBeside, runProgram } from '../support/program.ts';
import { makeSecret } from '../support/secrets.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait.ts';

interface Check {
  readonly subject: string;
  readonly check: string;
  readonly status: 'ok' | 'note' | 'warning' | 'failed';
  readonly detail: string;
  readonly remedy: string;
}

function doctor(config: string): { status: number | null; checks: readonly Check[] } {
  const { status, stderr, stdout } = runProgram(OURS, 'doctor', '-json', '-config', config);
  assert.notEqual(stdout, '', stderr);
  const report = JSON.parse(stdout) as { ok: boolean; checks: readonly Check[] };
  assert.equal(report.ok, status === 0);
  return { status, checks: report.checks };
}

function failures(checks: readonly Check[]): string[] {
  return checks.filter(({ status }) => status === 'failed').map(({ check }) => check);
}

function configFor(folder: string, replica: string, database = join(folder, 'app.db')): string {
  const path = join(folder, 'litestream.yml');
  const keys = 'monitor-interval: 50ms, busy-timeout: 100ms';
  writeFileSync(path, `dbs: [{path: ${database}, ${keys}, replica: ${replica}}]\n`);
  return path;
}

async function database(t: TestContext, folder: string, mode = 'wal'): Promise<Application> {
  const application = new Application(join(folder, 'app.db'));
  t.after(() => application.kill());
  await application.exec(`PRAGMA journal_mode = ${mode}`, 'CREATE TABLE t (v)');
  return application;
}

/** The log of a daemon has a line with a hint that matches. */
async function hinted(t: TestContext, config: string, hint: RegExp): Promise<void> {
  const daemon = new Daemon(t, OURS, 'replicate', '-config', config);
  const line = new RegExp(`level=(WARN|ERROR) .*hint="?[^"]*${hint.source}`);
  await waitFor(() => line.test(daemon.log), { what: `a line with ${hint.source}\n${daemon.log}` });
}

test('beside a daemon that replicates nothing is in the way, and nothing is disturbed', async (t) => {
  const scene = new Scene(t);
  const application = await scene.application();
  scene.start();
  await scene.converged();
  const { checks, status } = doctor(scene.config);
  assert.deepEqual(failures(checks), []);
  assert.equal(status, 0);
  const of = (check: string): Check | undefined => checks.find((found) => found.check === check);
  for (const check of ['permissions', 'database', 'journal mode', 'metadata', 'disk space']) {
    assert.equal(of(check)?.status, 'ok', check);
  }
  for (const check of ['list', 'write', 'read', 'delete']) assert.equal(of(check)?.status, 'ok');
  assert.match(of('process')?.detail ?? '', /^process \d+ replicates it$/);
  assert.equal(readdirSync(join(scene.replica, 'ltx')).includes('99'), false);
  await application.insert(10);
  await scene.converged();
  assert.deepEqual(scene.fullLines(), []);
  const { stdout } = runProgram(OURS, 'doctor', '-config', scene.config);
  assert.match(stdout, /^subject +check +result +detail\n/);
  assert.match(stdout, /Nothing is in the way of replication\.\n$/);
});

test('a replica folder that does not exist yet does not stay behind', async (t) => {
  const folder = tempDir(t);
  await database(t, folder);
  const { checks } = doctor(configFor(folder, `{path: ${folder}/replica}`));
  assert.deepEqual(failures(checks), []);
  assert.equal(existsSync(join(folder, 'replica/ltx')), false);
});

test('mistake: the wrong path of the database', async (t) => {
  const folder = tempDir(t);
  const config = configFor(folder, `{path: ${folder}/replica}`, join(folder, 'ap.db'));
  const { checks, status } = doctor(config);
  assert.equal(status, 1);
  assert.deepEqual(failures(checks), ['database']);
  assert.match(checks.find(({ check }) => check === 'database')?.remedy ?? '', /check the path/);
  await hinted(t, config, /check the path/);
  const folderConfig = configFor(folder, `{path: ${folder}/replica}`, folder);
  assert.deepEqual(failures(doctor(folderConfig).checks), ['database']);
});

test('mistake: the database is not in WAL mode, and cannot be switched', async (t) => {
  const folder = tempDir(t);
  const application = await database(t, folder, 'delete');
  const config = configFor(folder, `{path: ${folder}/replica}`);
  const { checks } = doctor(config);
  const mode = checks.find(({ check }) => check === 'journal mode');
  assert.equal(mode?.status, 'warning');
  assert.match(mode.remedy, /PRAGMA journal_mode = wal/);
  await application.exec('BEGIN', 'SELECT * FROM t');
  await hinted(t, config, /PRAGMA journal_mode = wal/);
});

test('mistake: no database at all', async (t) => {
  const folder = tempDir(t);
  writeFileSync(
    join(folder, 'app.db'),
    'something else than a database, but long enough to be one\n'.repeat(9),
  );
  const config = configFor(folder, `{path: ${folder}/replica}`);
  assert.deepEqual(failures(doctor(config).checks), ['database']);
  await hinted(t, config, /check the path: the file is no SQLite database/);
});

const S3 = (endpoint: string, more = ''): string =>
  `{type: s3, bucket: b, region: us-east-1, endpoint: '${endpoint}', force-path-style: true${more}}`;
const KEYS = `, access-key-id: id, secret-access-key: ${makeSecret('S3 key')}`;

/** A store that answers every request with one S3 error. */
async function answering(t: TestContext, status: number, code: string): Promise<string> {
  const server = createServer((request, response) => {
    request.resume();
    response.writeHead(status, { 'content-type': 'application/xml' });
    response.end(`<?xml version="1.0"?><Error><Code>${code}</Code><Message>no</Message></Error>`);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** The doctor runs beside the server of this process, so it may not block it. */
async function doctorBeside(t: TestContext, config: string): Promise<string> {
  const daemon = new Daemon(t, OURS, 'doctor', '-config', config);
  await waitFor(() => !daemon.running, { what: 'the doctor to end', timeoutMs: 60_000 });
  assert.equal(daemon.status, 1, daemon.log);
  return daemon.log;
}

test('mistake: an endpoint where nobody answers', async (t) => {
  const folder = tempDir(t);
  await database(t, folder);
  const config = configFor(folder, S3('http://127.0.0.1:9', KEYS));
  const log = await doctorBeside(t, config);
  assert.match(log, /FAILED .*: list\n {2}check /);
  await hinted(t, config, /check /);
});

test('mistake: the wrong region', async (t) => {
  const folder = tempDir(t);
  await database(t, folder);
  const endpoint = await answering(t, 400, 'AuthorizationHeaderMalformed');
  const config = configFor(folder, S3(endpoint, KEYS));
  assert.match(await doctorBeside(t, config), /FAILED .*: list\n {2}check the region/);
  await hinted(t, config, /check the region/);
});

test('mistake: credentials that permit nothing', async (t) => {
  const folder = tempDir(t);
  await database(t, folder);
  const endpoint = await answering(t, 403, 'AccessDenied');
  const config = configFor(folder, S3(endpoint, KEYS));
  assert.match(
    await doctorBeside(t, config),
    /FAILED .*: list\n {2}check the permissions of the key/,
  );
  await hinted(t, config, /check the permissions of the key/);
});

test('mistake: half of the credentials', async (t) => {
  const folder = tempDir(t);
  await database(t, folder);
  const config = configFor(folder, S3('http://127.0.0.1:9', ', access-key-id: id'));
  const log = await doctorBeside(t, config);
  assert.match(log, /FAILED .*: list\n {2}\S+/);
  assert.match(log, /secret-access-key/);
});

test('mistake: no permission to write to the replica, or to the metadata', async (t) => {
  const folder = tempDir(t);
  await database(t, folder);
  writeFileSync(join(folder, 'plain'), '');
  const config = configFor(folder, `{path: ${folder}/plain/replica}`);
  const { checks } = doctor(config);
  assert.ok(failures(checks).some((check) => check === 'write' || check === 'list'));
  await hinted(t, config, /a part of the path is a file/);
  mkdirSync(join(folder, 'sub'));
  const text = readFileSync(config, 'utf8').replace(
    'monitor-interval',
    `meta-path: ${folder}/plain, monitor-interval`,
  );
  writeFileSync(config, text);
  assert.ok(failures(doctor(config).checks).includes('metadata'));
});

test('a configuration file that is wrong or missing is told in the table', (t) => {
  const folder = tempDir(t);
  const path = join(folder, 'litestream.yml');
  const missing = doctor(path);
  assert.equal(missing.status, 1);
  assert.deepEqual(failures(missing.checks), ['file']);
  writeFileSync(path, 'dbs: [{path: /a.db}, : ]');
  assert.deepEqual(failures(doctor(path).checks), ['file']);
});

for (const [skewMs, wanted, detail] of [
  [0, 'ok', /^\d s apart from the store's$/],
  [-120_000, 'warning', /^1[12]\d s apart from the store's$/],
  [3_600_000, 'warning', /^3[56]\d\d s apart from the store's$/],
] as const) {
  test(`a store's clock that is ${skewMs / 1000} s ahead is ${wanted}`, async (t) => {
    const fake = await FakeS3.start(t, { clockOffsetMs: skewMs });
    const { accessKeyId, secretAccessKey } = fake.rules.secrets;
    const folder = tempDir(t);
    await database(t, folder);
    const place = `bucket: testbucket, region: us-east-1, endpoint: '${fake.endpoint}'`;
    const keys = `access-key-id: ${accessKeyId}, secret-access-key: '${secretAccessKey}'`;
    const config = configFor(folder, `{type: s3, path: p, ${place}, ${keys}}`);
    const { status, stdout } = await runBeside(OURS, 'doctor', '-json', '-config', config);
    const { checks } = JSON.parse(stdout) as { checks: readonly Check[] };
    const clock = checks.find(({ check }) => check === 'clock');
    assert.deepEqual([status, clock?.status], [0, wanted], stdout);
    assert.match(clock?.detail ?? '', detail);
    if (wanted === 'warning') assert.match(clock?.remedy ?? '', /set the clock/);
    assert.equal(fake.objects.size, 0, 'the probe is gone');
  });
}
