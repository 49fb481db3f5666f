import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { needServer } from './installed.ts';
import type { Scope } from './scope.ts';
import { ServerProcess } from './server-process.ts';
import { WEBDAV_PASSWORD, WEBDAV_USER, type WebdavServer } from './webdav-server.ts';

/** WsgiDAV on cheroot with Basic authentication. A restart keeps the files. */
export async function startWsgidav(scope: Scope): Promise<WebdavServer | undefined> {
  const program = needServer(scope, 'wsgidav');
  if (program === undefined) return undefined;
  const server = await ServerProcess.reserve(scope);
  const root = join(server.folder, 'files');
  mkdirSync(root);
  const users = { '*': { [WEBDAV_USER]: { password: WEBDAV_PASSWORD } } };
  const config = {
    host: '127.0.0.1',
    port: server.port,
    server: 'cheroot',
    provider_mapping: { '/': root },
    verbose: 1,
    logging: { enable: false },
    http_authenticator: { accept_basic: true, accept_digest: false, default_to_digest: false },
    simple_dc: { user_mapping: users },
    property_manager: null,
    lock_storage: true,
  };
  const file = join(server.folder, 'wsgidav.yaml'); // JSON is YAML
  writeFileSync(file, JSON.stringify(config));
  await server.start({ program, args: ['--config', file] });
  return {
    server,
    port: server.port,
    url: `http://127.0.0.1:${server.port}`,
    username: WEBDAV_USER,
    password: WEBDAV_PASSWORD,
    root,
  };
}
