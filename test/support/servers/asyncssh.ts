import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeSecret } from '../secrets.ts';
import { needServer } from './installed.ts';
import type { Scope } from './scope.ts';
import { ServerProcess } from './server-process.ts';
import { makeKey } from './sshd.ts';

export interface PasswordSftpServer {
  readonly server: ServerProcess;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  /** Line as in authorized_keys. */
  readonly hostKey: string;
  /** Folder that clients see as `/`. */
  readonly root: string;
}

/**
 * asyncssh as an SFTP server, for logins by password: sshd would need a user of the system with one. While `ROOT.lose-rename`
 * exists, the answer to the next rename is lost with the connection, and that file removed.
 */
export async function startAsyncssh(scope: Scope): Promise<PasswordSftpServer | undefined> {
  const program = needServer(scope, 'asyncssh');
  if (program === undefined) return undefined;
  const server = await ServerProcess.reserve(scope);
  const root = join(server.folder, 'files');
  mkdirSync(root);
  const key = makeKey(join(server.folder, 'host'));
  const user = 'litestream';
  const password = makeSecret('SFTP password', 'se:cret+/@');
  const script = join(import.meta.dirname, 'asyncssh-server.py');
  const args = [script, String(server.port), root, key, user, password];
  await server.start({ program, args });
  const hostKey = readFileSync(`${key}.pub`, 'utf8').trim();
  return { server, port: server.port, user, password, hostKey, root };
}
