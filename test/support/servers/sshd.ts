import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { makeSecret, registerSecret } from '../secrets.ts';
import { needServer } from './installed.ts';
import type { Scope } from './scope.ts';
import { ServerProcess } from './server-process.ts';

export type KeyKind = 'ed25519' | 'ecdsa' | 'rsa';

export interface SftpServer {
  readonly server: ServerProcess;
  readonly port: number;
  readonly user: string;
  /** Files of private keys that may log in: without and with a passphrase, the second absent where passwords are used. */
  readonly keyPath: string;
  readonly encryptedKeyPath: string;
  readonly passphrase: string;
  /** A private key that may not. */
  readonly strangerKeyPath: string;
  /** Lines as in authorized_keys, one for each key of the host, in the server's order of preference. */
  readonly hostKeys: readonly string[];
  /** Folder for replicas, absolute. */
  readonly root: string;
}

export interface SshdOptions {
  /** Kinds of keys that the host has. Default: ed25519. */
  readonly hostKeys?: readonly KeyKind[];
  /** More lines for its configuration. */
  readonly config?: readonly string[];
}

const PASSPHRASE = makeSecret('SSH passphrase', 'correct horse ');

/** Makes a key pair; returns the file of the private one. */
export function makeKey(file: string, kind: KeyKind = 'ed25519', passphrase = ''): string {
  const size = kind === 'rsa' ? ['-b', '2048'] : [];
  const args = ['-q', '-t', kind, ...size, '-N', passphrase, '-C', 'test', '-f', file];
  execFileSync('ssh-keygen', args);
  registerSecret('SSH private key', readFileSync(file, 'utf8'));
  return file;
}

function publicKey(file: string): string {
  return readFileSync(`${file}.pub`, 'utf8').trim();
}

/** OpenSSH with a throw-away configuration. Logs in the user who runs the tests, by key; a restart keeps everything. */
export async function startSshd(
  scope: Scope,
  { hostKeys = ['ed25519'], config = [] }: SshdOptions = {},
): Promise<SftpServer | undefined> {
  const program = needServer(scope, 'sshd');
  if (program === undefined) return undefined;
  const server = await ServerProcess.reserve(scope);
  const { folder, port } = server;
  const inside = (name: string): string => join(folder, name);
  const hosts = hostKeys.map((kind) => makeKey(inside(`host_${kind}`), kind));
  const plain = makeKey(inside('client'));
  const encrypted = makeKey(inside('client_encrypted'), 'ed25519', PASSPHRASE);
  writeFileSync(inside('authorized_keys'), `${publicKey(plain)}\n${publicKey(encrypted)}\n`);
  mkdirSync(inside('files'));
  const file = inside('sshd_config');
  writeFileSync(file, configuration(server, hosts, config));
  // Where sshd separates its privileges.
  if (process.getuid?.() === 0) mkdirSync('/run/sshd', { recursive: true });
  await server.start({ program, args: ['-D', '-e', '-f', file] });
  return {
    server,
    port,
    user: userInfo().username,
    keyPath: plain,
    encryptedKeyPath: encrypted,
    passphrase: PASSPHRASE,
    strangerKeyPath: makeKey(inside('stranger')),
    hostKeys: hosts.map((host) => publicKey(host)),
    root: inside('files'),
  };
}

/** Gives a stopped server another key, as a machine that was set up anew has, or somebody who stands between. */
export function replaceHostKey({ server }: SftpServer): void {
  const fresh = makeKey(join(server.folder, `fresh_${Date.now()}`));
  copyFileSync(fresh, join(server.folder, 'host_ed25519'));
}

function configuration(
  { folder, port }: ServerProcess,
  hosts: readonly string[],
  more: readonly string[],
): string {
  return [
    // The first value of a setting counts.
    ...more,
    `Port ${port}`,
    'ListenAddress 127.0.0.1',
    ...hosts.map((file) => `HostKey ${file}`),
    `AuthorizedKeysFile ${folder}/authorized_keys`,
    'PidFile none',
    'StrictModes no',
    'UsePAM no',
    'PasswordAuthentication no',
    'KbdInteractiveAuthentication no',
    'PermitRootLogin yes',
    // The one setting that may not be given twice.
    ...(more.some((line) => line.startsWith('Subsystem')) ? [] : ['Subsystem sftp internal-sftp']),
    'MaxStartups 100',
    '',
  ].join('\n');
}
