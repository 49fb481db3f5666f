import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { openSync, readFileSync, writeFileSync } from 'node:fs';
import { type IncomingMessage, request } from 'node:http';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test, type TestContext } from 'node:test';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait.ts';
import { PROGRAM } from './spawn.ts';

/** Nobody listens there, and the system says so at once. */
const NOBODY = '127.0.0.1:1';
const KEY_64 = Buffer.from('planted-secret-key-of-32-bytes-x').toString('base64');

/** Where a secret stands, and how it looks. Each is found by its own text. */
const SECRETS = {
  heartbeat: 'planted-heartbeat',
  s3: 'planted-s3-key',
  s3Session: 'planted-session',
  customerKey: KEY_64,
  absKey: Buffer.from('planted-azure-account-key').toString('base64'),
  sas: 'sig=planted-sas',
  sftpUrl: 'planted-sftp-url',
  sftp: 'planted-sftp-password',
  webdav: 'planted-webdav',
  webdavUrl: 'planted-dav-url',
  nats: 'planted-nats-password',
  natsToken: 'planted-nats-token',
  oss: 'planted-oss-key',
  environment: 'planted-in-environment',
} as const;

const ENVIRONMENT = {
  AWS_SESSION_TOKEN: SECRETS.s3Session,
  LITESTREAM_SECRET_ACCESS_KEY: SECRETS.environment,
  LITESTREAM_ACCESS_KEY_ID: 'id-from-environment',
  WEBDAV_FROM_ENVIRONMENT: SECRETS.webdav,
} as const;

function configText(folder: string): string {
  const entry = (name: string, lines: readonly string[]): string =>
    [
      `  - path: ${folder}/${name}.db`,
      '    replica:',
      ...lines.map((line) => `      ${line}`),
    ].join('\n');
  return `
addr: 127.0.0.1:0
heartbeat-url: http://somebody:${SECRETS.heartbeat}@${NOBODY}/ping
heartbeat-interval: 1m
shutdown-sync-timeout: 0s
watchdog-threshold: 1s
lag-alert: 500ms
socket: {enabled: true, path: ${folder}/control.sock}
logging: {level: trace}
dbs:
${entry('s3', [
  'type: s3',
  'bucket: bucket',
  'path: app',
  `endpoint: http://${NOBODY}`,
  'access-key-id: visible-id',
  `secret-access-key: ${SECRETS.s3}`,
  'sse-customer-algorithm: AES256',
  `sse-customer-key: ${SECRETS.customerKey}`,
])}
${entry('abs', [
  'type: abs',
  'account-name: account',
  'bucket: container',
  'path: app',
  `endpoint: http://${NOBODY}/account`,
  `account-key: ${SECRETS.absKey}`,
])}
${entry('sas', [
  'type: abs',
  'account-name: account',
  'bucket: container',
  'path: sas',
  `endpoint: http://${NOBODY}/account`,
  `sas-token: sv=2024-01-01&${SECRETS.sas}`,
])}
${entry('sftp', [`url: sftp://user:${SECRETS.sftpUrl}@${NOBODY}/app`])}
${entry('sftp2', ['type: sftp', `host: ${NOBODY}`, 'user: user', 'path: /two', `password: ${SECRETS.sftp}`])}
${entry('webdav', [
  'type: webdav',
  `webdav-url: http://${NOBODY}`,
  'webdav-username: user',
  'webdav-password: $WEBDAV_FROM_ENVIRONMENT',
  'path: app',
])}
${entry('webdav2', [`url: webdav://user:${SECRETS.webdavUrl}@${NOBODY}/two`])}
${entry('nats', [`url: nats://${NOBODY}/bucket`, 'username: user', `password: ${SECRETS.nats}`])}
${entry('nats2', [`url: nats://${NOBODY}/bucket2`, `token: ${SECRETS.natsToken}`])}
${entry('oss', [
  'type: oss',
  'bucket: bucket',
  'path: app',
  `endpoint: http://${NOBODY}`,
  'access-key-id: visible-id',
  `secret-access-key: ${SECRETS.oss}`,
])}
`;
}

const DATABASES = [
  's3',
  'abs',
  'sas',
  'sftp',
  'sftp2',
  'webdav',
  'webdav2',
  'nats',
  'nats2',
  'oss',
];

function assertClean(what: string, text: string): void {
  for (const [name, secret] of Object.entries(SECRETS)) {
    for (const form of [
      secret,
      encodeURIComponent(secret),
      Buffer.from(secret).toString('base64').slice(0, -4),
      Buffer.from(`user:${secret}`).toString('base64').slice(0, -4),
    ]) {
      const at = text.indexOf(form);
      const around = text.slice(Math.max(0, at - 200), at + 200);
      assert.ok(at < 0, `${what} shows the secret "${name}":\n${around}`);
    }
  }
}

async function get(url: string): Promise<string> {
  const sent = request(url, { agent: false });
  sent.end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  let text = JSON.stringify(response.headers);
  for await (const chunk of response) text += String(chunk);
  return text;
}

interface Planted {
  readonly folder: string;
  readonly path: string;
  readonly run: (...args: readonly string[]) => Promise<string>;
}

function plant(t: TestContext): Planted {
  const folder = tempDir(t);
  const path = join(folder, 'litestream.yml');
  writeFileSync(path, configText(folder));
  for (const name of DATABASES) {
    using database = new DatabaseSync(join(folder, `${name}.db`));
    database.exec('PRAGMA journal_mode = wal; CREATE TABLE t (x)');
  }
  return {
    folder,
    path,
    run: (...args) =>
      new Promise((resolve) => {
        const env = { PATH: process.env['PATH'], HOME: folder, LOG_LEVEL: 'trace', ...ENVIRONMENT };
        execFile(
          PROGRAM,
          args,
          { cwd: folder, timeout: 100_000, env },
          (_error, stdout, stderr) => {
            resolve(stdout + stderr);
          },
        );
      }),
  };
}

test('a daemon shows no secret: not in its log, its metrics, its health, its page', async (t) => {
  const { folder, path, run } = plant(t);
  const logPath = join(folder, 'log');
  const log = openSync(logPath, 'w');
  const child = spawn(PROGRAM, ['replicate', '-config', path], {
    cwd: folder,
    stdio: ['ignore', log, log],
    env: { PATH: process.env['PATH'], HOME: folder, ...ENVIRONMENT },
  });
  t.after(() => child.kill('SIGKILL'));
  const text = (): string => readFileSync(logPath, 'utf8');
  const isOver = (): boolean => child.exitCode !== null || child.signalCode !== null;
  await waitFor(
    () =>
      isOver() ||
      DATABASES.every((name) => new RegExp(`level=ERROR .*db=${name}\\.db `).test(text())),
    { what: `an error of each replica in ${text()}`, timeoutMs: 60_000 },
  );
  assertClean('the log', text());
  assert.ok(!isOver(), text());
  const base = /url=(\S+)\/metrics/.exec(text())?.[1] ?? '';
  for (const page of ['/metrics', '/healthz', '/']) assertClean(page, await get(base + page));
  for (const command of ['info', 'list', 'sync', 'txid']) {
    const args = command === 'sync' ? [join(folder, 's3.db')] : [];
    assertClean(command, await run(command, '-socket', join(folder, 'control.sock'), ...args));
  }
  child.kill('SIGTERM');
  await waitFor(isOver, { what: 'its end', timeoutMs: 60_000 });
  assertClean('the log', text());
});

/** A few at a time: each tries again for some seconds. */
async function inParallel(bodies: readonly (() => Promise<void>)[]): Promise<void> {
  const queue = bodies.values();
  const work = async (): Promise<void> => {
    for (const body of queue) await body();
  };
  await Promise.all([work(), work(), work(), work(), work(), work()]);
}

test('commands show no secret, whatever fails', async (t) => {
  const { folder, path, run } = plant(t);
  assertClean('databases', await run('databases', '-config', path));
  assertClean('databases', await run('databases', '-json', '-config', path));
  assertClean('status', await run('status', '-config', path));
  // S3 tries for most of a minute, and the daemon's log has its errors.
  const restores = DATABASES.filter((name) => name !== 's3').map((name) => async () => {
    const out = join(folder, `${name}.out`);
    const text = await run('restore', '-config', path, '-o', out, join(folder, `${name}.db`));
    assert.match(text, /^Error: /m, name);
    assertClean(`restore ${name}`, text);
  });
  const silent = [
    `sftp://user:${SECRETS.sftpUrl}@${NOBODY}/app`,
    `webdav://user:${SECRETS.webdavUrl}@${NOBODY}/app`,
    `nats://user:${SECRETS.nats}@${NOBODY}/bucket`,
    `s3://bucket/app?sse-customer-key=${SECRETS.s3}&sse-customer-algorithm=AES256`,
  ].map((url) => async () => {
    assertClean(`ltx ${url}`, await run('ltx', url));
  });
  const wrong = [
    `ftp://user:${SECRETS.sftpUrl}@host/x`,
    `sftp://user:${SECRETS.sftpUrl}@host:port:x/y`,
    `webdav://user:${SECRETS.webdavUrl}@%zz/app`,
    `s3://bucket/%zz?sse-customer-key=${SECRETS.s3}`,
  ].map((url) => async () => {
    const text = await run('replicate', '-once', join(folder, 's3.db'), url);
    assert.match(text, /^Error: /m);
    assertClean(`replicate ${url}`, text);
  });
  await inParallel([...restores, ...silent, ...wrong]);
});

test('complaints about a configuration show no secret', async (t) => {
  const { folder, path, run } = plant(t);
  for (const text of [
    `heartbeat-url: ftp://user:${SECRETS.heartbeat}@host/x\n`,
    `secret-access-key: [${SECRETS.s3}]\n`,
    `password: {a: ${SECRETS.sftp}}\n`,
    `dbs: [{path: a.db, replica: {url: 'ftp://user:${SECRETS.sftpUrl}@host/x'}}]\n`,
    `dbs: [{path: a.db, replica: {url: 'sftp://user:${SECRETS.sftpUrl}@/x'}}]\n`,
    `dbs: [{path: a.db, replica: {type: abs, bucket: b, account-name: a, account-key: 'not base64 ${SECRETS.sas}'}}]\n`,
    `dbs: [{path: a.db, replica: {type: s3, bucket: b, path: x, sse-customer-key: '${SECRETS.s3}', sse-customer-algorithm: AES256}}]\n`,
    `secret-acess-key: ${SECRETS.s3}\ndbs: []\n`,
  ]) {
    writeFileSync(path, text);
    for (const command of ['databases', 'status']) {
      assertClean(`${command} of ${text}`, await run(command, '-config', path));
    }
    assertClean(text, await run('restore', '-config', path, '-o', 'out.db', join(folder, 'a.db')));
  }
});
