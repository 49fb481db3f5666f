import { createConnection } from 'node:net';
import { join } from 'node:path';
import type { Config } from '../../config/index.ts';
import { isMissing, osErrorCode } from '../../lib/os-error.ts';
import { isAlive } from '../../lib/process-identity.ts';
import type { Io } from '../command.ts';
import { type Check, Checks } from './check.ts';

const TEXT_BYTES = 200;
const ANSWER_MS_MAX = 2000;

/** Who replicates the database now, as the lock in its metadata folder says. */
export async function checkHolder(metaPath: string, checks: Checks, io: Io): Promise<void> {
  const path = join(metaPath, 'lock');
  let text: string;
  try {
    const file = await io.fileSystem.open('doctor:open-lock', path, 'read');
    try {
      const bytes = new Uint8Array(TEXT_BYTES);
      const length = await file.read('doctor:read-lock', bytes, 0);
      text = new TextDecoder().decode(bytes.subarray(0, length)).trim();
    } finally {
      await file.close();
    }
  } catch (error) {
    if (!isMissing(error)) throw error;
    checks.note('process', 'no litestream of this machine replicates it now');
    return;
  }
  const [pid = '', startedAt = ''] = text.split(' ');
  const alive = /^\d+$/.test(pid) && isAlive({ pid: Number(pid), startedAt });
  if (alive) checks.ok('process', `process ${pid} replicates it`);
  else checks.note('process', 'no litestream of this machine replicates it now');
}

/** Whether anybody answers at a socket: the errno if not. */
function knock(path: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = createConnection(path);
    const end = (answer: string | undefined): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(ANSWER_MS_MAX, () => end('ETIMEDOUT'));
    socket.once('connect', () => end(undefined));
    socket.once('error', (error) => end(osErrorCode(error) ?? 'EIO'));
  });
}

/** Whether a daemon answers at the control socket. */
export async function checkSocket(config: Config): Promise<Check[]> {
  const { enabled, path } = config.socket;
  if (!enabled) return [];
  const checks = new Checks('machine');
  const errno = await knock(path);
  if (errno === undefined) {
    checks.ok(
      'control socket',
      `a process answers at ${path}: a second daemon with this socket will not start`,
    );
  } else if (errno === 'ENOENT') {
    checks.note('control socket', `no daemon runs with ${path}`);
  } else if (errno === 'ECONNREFUSED') {
    checks.note('control socket', `${path} was left behind; the next daemon replaces it`);
  } else {
    const remedy = 'check the path and its permissions, or set socket.path';
    checks.fail('control socket', `${path}: ${errno}`, remedy);
  }
  return checks.all;
}
