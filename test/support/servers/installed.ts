import { accessSync, constants } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import type { Scope } from './scope.ts';

/** The program of each server. Names are those in the reasons of skips and in `LITESTREAM_TEST_REQUIRED`. */
const PROGRAMS = {
  apache: 'apache2',
  asyncssh: 'asyncssh-python',
  azurite: 'azurite-blob',
  'fake-gcs-server': 'fake-gcs-server',
  moto: 'moto_server',
  'nats-server': 'nats-server',
  sshd: 'sshd',
  versitygw: 'versitygw',
  wsgidav: 'wsgidav',
} as const;

export type ServerName = keyof typeof PROGRAMS;

/** Where `tools/install-servers` puts programs. */
function cacheFolder(): string {
  const base = process.env['XDG_CACHE_HOME'];
  const cache = base === undefined || base === '' ? join(homedir(), '.cache') : base;
  return join(cache, 'litestream-ts', 'servers', 'bin');
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Path of a server's program; undefined if it is not installed. */
export function findServer(name: ServerName): string | undefined {
  const path = (process.env['PATH'] ?? '').split(delimiter);
  const folders = [cacheFolder(), ...path, '/usr/sbin'];
  return folders
    .filter((folder) => folder !== '')
    .map((folder) => join(folder, PROGRAMS[name]))
    .find((file) => isProgram(file));
}

/** Why tests with this server cannot run here; undefined if they can. For `unavailable` of the contract suite. */
export function whyMissing(name: ServerName): string | undefined {
  return findServer(name) === undefined
    ? `${name}: not installed (tools/install-servers)`
    : undefined;
}

/** Path of a server's program. Where it is missing the test skips in plain sight and this is undefined; without a test it throws. */
export function needServer(scope: Scope, name: ServerName): string | undefined {
  const path = findServer(name);
  if (path !== undefined) return path;
  const reason = whyMissing(name) ?? name;
  if (scope.skip === undefined) throw new Error(reason);
  scope.skip(reason);
  return undefined;
}
