import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { systemClock } from '../../src/lib/clock.ts';
import { isLitestreamError } from '../../src/lib/errors.ts';
import type { SftpLocation } from '../../src/storage/index.ts';
import {
  SftpReplicaClient,
  type SftpReplicaOptions,
} from '../../src/storage/providers/sftp/index.ts';
import { RecordingLogger } from '../support/engine.ts';
import {
  replaceHostKey,
  startAsyncssh,
  startSshd,
  type SftpServer,
} from '../support/servers/index.ts';
import { sftpLocation } from '../support/servers/sftp-location.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait.ts';
import { makeSecret } from '../support/secrets.ts';

/** Logs in; the error if that fails. */
async function login(
  t: TestContext,
  location: SftpLocation,
  options: Partial<SftpReplicaOptions> = {},
): Promise<unknown> {
  const client = new SftpReplicaClient(location, { clock: systemClock, ...options });
  t.after(() => client.close());
  try {
    await client.init();
    return undefined;
  } catch (error) {
    return error;
  }
}

function assertDenied(error: unknown, text: RegExp): void {
  assert.ok(isLitestreamError(error, 'ERR_STORAGE_DENIED'), String(error));
  assert.match(error.message, text);
  assert.equal(error.retryable, false);
}

test('sftp: logs in with a key, with an encrypted one and its passphrase', async (t) => {
  const sshd = await startSshd(t);
  if (sshd === undefined) return;
  const encrypted = { keyPath: sshd.encryptedKeyPath };
  const { passphrase: keyPassphrase } = sshd;
  assert.equal(await login(t, sftpLocation(sshd)), undefined);
  assert.equal(await login(t, sftpLocation(sshd, { ...encrypted, keyPassphrase })), undefined);
  assertDenied(
    await login(t, sftpLocation(sshd, encrypted)),
    /^sftp: cannot parse sftp key path: ssh: this private key is passphrase protected$/,
  );
  const wrong = await login(
    t,
    sftpLocation(sshd, { ...encrypted, keyPassphrase: makeSecret('wrong passphrase') }),
  );
  assertDenied(wrong, /^sftp: cannot parse sftp key path: .*passphrase/);
  assert.doesNotMatch(String(wrong), /not it/);
});

test('sftp: a login that the server refuses names what was tried', async (t) => {
  const sshd = await startSshd(t);
  if (sshd === undefined) return;
  assertDenied(
    await login(t, sftpLocation(sshd, { keyPath: sshd.strangerKeyPath })),
    /ssh: handshake failed: ssh: unable to authenticate, attempted methods \[none publickey\], no supported methods remain$/,
  );
  assertDenied(
    await login(t, sftpLocation(sshd, { keyPath: '' })),
    /attempted methods \[none\], no supported methods remain$/,
  );
  assertDenied(
    await login(t, sftpLocation(sshd, { keyPath: join(sshd.root, 'gone') })),
    /^sftp: cannot read sftp key path: open .*gone: no such file or directory$/,
  );
});

test('sftp: a password is tried, refused and never shown', async (t) => {
  const ssh = await startAsyncssh(t);
  if (ssh === undefined) return;
  const { port, user, password, hostKey } = ssh;
  const server = { port, user, keyPath: '', hostKeys: [hostKey], root: '/' };
  const logger = new RecordingLogger();
  const options = { logger };
  assert.equal(await login(t, { ...sftpLocation(server), password }, options), undefined);
  const secret = makeSecret('wrong password');
  const error = await login(t, { ...sftpLocation(server), password: secret }, options);
  assertDenied(error, /unable to authenticate, attempted methods \[none password/);
  assert.ok(isLitestreamError(error));
  const shown = JSON.stringify([
    error.message,
    error.hint,
    error.details,
    error.cause,
    logger.records,
  ]);
  assert.ok(!shown.includes(secret) && !shown.includes(password));
});

/** An ssh-agent with these keys; its socket. Undefined and a visible skip where there is none. */
async function startAgent(t: TestContext, ...keys: string[]): Promise<string | undefined> {
  if (spawnSync('ssh-agent', ['-V']).error !== undefined) {
    t.skip('ssh-agent: not installed');
    return undefined;
  }
  const socket = join(tempDir(t), 'agent');
  const agent = spawn('ssh-agent', ['-D', '-a', socket], { stdio: 'ignore' });
  t.after(async () => {
    agent.kill('SIGKILL');
    await once(agent, 'close');
  });
  await waitFor(() => existsSync(socket), { what: 'the socket of the agent' });
  const env = { ...process.env, SSH_AUTH_SOCK: socket };
  for (const key of keys) assert.equal(spawnSync('ssh-add', ['-q', key], { env }).status, 0);
  return socket;
}

test('sftp: without password and key the keys of the agent are tried', async (t) => {
  const sshd = await startSshd(t);
  if (sshd === undefined) return;
  const socket = await startAgent(t, sshd.strangerKeyPath, sshd.keyPath);
  if (socket === undefined) return;
  const environment = { SSH_AUTH_SOCK: socket };
  const none = sftpLocation(sshd, { keyPath: '' });
  assert.equal(await login(t, none, { environment }), undefined);
  const stranger = sftpLocation(sshd, { keyPath: sshd.strangerKeyPath });
  assertDenied(await login(t, stranger, { environment }), /attempted methods \[none publickey\]/);
  const gone = { SSH_AUTH_SOCK: `${socket}-gone` };
  assertDenied(
    await login(t, none, { environment: gone }),
    /\(agent: Failed to connect to agent\)$/,
  );
});

const KINDS = ['ed25519', 'ecdsa', 'rsa'] as const;

async function threeKeys(t: TestContext): Promise<SftpServer | undefined> {
  return startSshd(t, { hostKeys: KINDS });
}

test('sftp: BKD-24 any of the keys of a server may be the pinned one, and several may', async (t) => {
  const sshd = await threeKeys(t);
  if (sshd === undefined) return;
  assert.equal(sshd.hostKeys.length, 3);
  for (const hostKey of sshd.hostKeys)
    assert.equal(await login(t, sftpLocation(sshd, { hostKey })), undefined, hostKey);
  const stranger = spawnSync('ssh-keygen', ['-y', '-f', sshd.strangerKeyPath], {
    encoding: 'utf8',
  }).stdout;
  const rotation = `# old and new\n${stranger.trim()} old\n\n${sshd.hostKeys[2]}\n`;
  assert.equal(await login(t, sftpLocation(sshd, { hostKey: rotation })), undefined);
  // As ssh-keyscan prints it.
  const scanned = `127.0.0.1 ${sshd.hostKeys[1]}`;
  assert.equal(await login(t, sftpLocation(sshd, { hostKey: scanned })), undefined);
});

test('sftp: BKD-16 a server with another key is refused before anything is sent', async (t) => {
  const sshd = await startSshd(t);
  if (sshd === undefined) return;
  const location = sftpLocation(sshd);
  assert.equal(await login(t, location), undefined);
  await sshd.server.kill();
  replaceHostKey(sshd);
  await sshd.server.start();
  const error = await login(t, { ...location, password: makeSecret('password') });
  assertDenied(error, /ssh: handshake failed: ssh: host key mismatch: the server has ssh-ed25519 /);
  assert.doesNotMatch(sshd.server.log, /Failed password|Failed publickey/);
  // A pin of a kind that the server does not have.
  const rsa = `ssh-rsa ${rsaBlob().toString('base64')}`;
  assertDenied(
    await login(t, { ...location, hostKey: rsa }),
    /host key mismatch: the server has no key of a pinned type/,
  );
});

/** The beginning of an RSA key is enough to pin one that no server has. */
function rsaBlob(): Buffer {
  return Buffer.concat([Buffer.from([0, 0, 0, 7]), Buffer.from('ssh-rsa'), Buffer.alloc(300, 1)]);
}

test('sftp: BKD-16 without a pinned key each client warns once and gives the key', async (t) => {
  const sshd = await startSshd(t);
  if (sshd === undefined) return;
  const logger = new RecordingLogger();
  const client = new SftpReplicaClient(sftpLocation(sshd, { hostKey: '' }), {
    clock: systemClock,
    logger,
  });
  t.after(() => client.close());
  await client.init();
  await sshd.server.restart();
  await client.delete([]);
  await client.init();
  const warnings = logger.records.filter(({ level }) => level === 'warn');
  assert.equal(warnings.length, 1);
  assert.equal(warnings[0]?.message, 'sftp host key not verified');
  const key = warnings[0].attributes['hostKey'];
  assert.ok(typeof key === 'string');
  assert.ok(sshd.hostKeys[0]?.startsWith(key));
  assert.equal(await login(t, sftpLocation(sshd, { hostKey: key })), undefined);
});
