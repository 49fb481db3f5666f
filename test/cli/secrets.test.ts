import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test, type TestContext } from 'node:test';
import { get } from '../support/http.ts';
import { Daemon, type Finished, inFolder, type Program, runBeside } from '../support/program.ts';
import { makeSecret, makeSecretKey } from '../support/secrets.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait.ts';
import { baseOf } from './daemon-scene.ts';

/** Nobody listens there, and the system says so at once. */
const NOBODY = '127.0.0.1:1';

/** Where a secret stands. Whatever runs the program or asks it something fails if one is shown. */
const SECRETS = {
  heartbeat: makeSecret('heartbeat'),
  s3: makeSecret('s3', 'k+/='),
  s3Session: makeSecret('s3Session', 's/+'),
  customerKey: makeSecretKey('customerKey', 32),
  absKey: makeSecretKey('absKey', 64),
  sas: makeSecret('sas'),
  sftpUrl: makeSecret('sftpUrl'),
  sftp: makeSecret('sftp', 'p w:@'),
  webdav: makeSecret('webdav'),
  webdavUrl: makeSecret('webdavUrl'),
  nats: makeSecret('nats'),
  natsToken: makeSecret('natsToken'),
  oss: makeSecret('oss', '+/'),
  environment: makeSecret('environment'),
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
  `sas-token: sv=2024-01-01&sig=${SECRETS.sas}`,
])}
${entry('sftp', [`url: sftp://user:${SECRETS.sftpUrl}@${NOBODY}/app`])}
${entry('sftp2', ['type: sftp', `host: ${NOBODY}`, 'user: user', 'path: /two', `password: '${SECRETS.sftp}'`])}
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

interface Planted {
  readonly folder: string;
  readonly path: string;
  readonly program: Program;
  readonly run: (...args: string[]) => Promise<Finished>;
}

function plant(t: TestContext): Planted {
  const folder = tempDir(t);
  const path = join(folder, 'litestream.yml');
  writeFileSync(path, configText(folder));
  for (const name of DATABASES) {
    using database = new DatabaseSync(join(folder, `${name}.db`));
    database.exec('PRAGMA journal_mode = wal; CREATE TABLE t (x)');
  }
  const program = inFolder(folder, { LOG_LEVEL: 'trace', ...ENVIRONMENT });
  return { folder, path, program, run: (...args) => runBeside(program, ...args) };
}

test('a daemon shows no secret: not in its log, its metrics, its health, its page', async (t) => {
  const { folder, path, program, run } = plant(t);
  const daemon = new Daemon(t, program, 'replicate', '-config', path);
  for (const name of DATABASES) {
    await waitFor(() => new RegExp(`level=ERROR .*db=${name}\\.db `).test(daemon.log), {
      what: `an error of ${name}`,
      timeoutMs: 60_000,
    });
  }
  const base = await baseOf(daemon);
  for (const page of ['/metrics', '/healthz', '/']) await get(base + page);
  const socket = join(folder, 'control.sock');
  for (const command of ['info', 'list', 'sync', 'txid']) {
    await run(command, '-socket', socket, ...(command === 'sync' ? [join(folder, 's3.db')] : []));
  }
  await daemon.stop();
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
  await run('databases', '-config', path);
  await run('databases', '-json', '-config', path);
  await run('status', '-config', path);
  // S3 tries for most of a minute, and the daemon's log has its errors.
  const restores = DATABASES.filter((name) => name !== 's3').map((name) => async () => {
    const out = join(folder, `${name}.out`);
    const { stderr } = await run('restore', '-config', path, '-o', out, join(folder, `${name}.db`));
    assert.match(stderr, /^Error: /m, name);
  });
  const silent = [
    `sftp://user:${SECRETS.sftpUrl}@${NOBODY}/app`,
    `webdav://user:${SECRETS.webdavUrl}@${NOBODY}/app`,
    `nats://user:${SECRETS.nats}@${NOBODY}/bucket`,
    `s3://bucket/app?sse-customer-key=${encodeURIComponent(SECRETS.s3)}&sse-customer-algorithm=AES256`,
  ].map((url) => async () => {
    await run('ltx', url);
  });
  const wrong = [
    `ftp://user:${SECRETS.sftpUrl}@host/x`,
    `sftp://user:${SECRETS.sftpUrl}@host:port:x/y`,
    `webdav://user:${SECRETS.webdavUrl}@%zz/app`,
    `s3://bucket/%zz?sse-customer-key=${encodeURIComponent(SECRETS.s3)}`,
  ].map((url) => async () => {
    const { stderr } = await run('replicate', '-once', join(folder, 's3.db'), url);
    assert.match(stderr, /^Error: /m);
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
    for (const command of ['databases', 'status']) await run(command, '-config', path);
    await run('restore', '-config', path, '-o', 'out.db', join(folder, 'a.db'));
  }
});
