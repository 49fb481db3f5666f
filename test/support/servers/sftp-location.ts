import type { SftpLocation } from '../../../src/storage/index.ts';
import type { SftpServer } from './sshd.ts';

/** A replica on this server, with a login by key and the host's first key pinned. */
export function sftpLocation(
  server: Pick<SftpServer, 'port' | 'user' | 'keyPath' | 'hostKeys' | 'root'>,
  changes: Partial<SftpLocation> = {},
): SftpLocation {
  return {
    type: 'sftp',
    host: `127.0.0.1:${server.port}`,
    user: server.user,
    password: '',
    keyPath: server.keyPath,
    keyPassphrase: '',
    hostKey: server.hostKeys[0] ?? '',
    path: `${server.root}/replica`,
    concurrentWrites: true,
    ...changes,
  };
}
