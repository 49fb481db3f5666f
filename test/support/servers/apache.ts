import { createHash } from 'node:crypto';
import { chownSync, mkdirSync, writeFileSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { needServer } from './installed.ts';
import type { Scope } from './scope.ts';
import { ServerProcess } from './server-process.ts';
import { WEBDAV_PASSWORD, WEBDAV_USER, type WebdavServer } from './webdav-server.ts';

const MODULES = '/usr/lib/apache2/modules';
const REALM = 'dav';
/** As root Apache serves as this user. */
const SERVICE_USER = 'www-data';

/** Apache httpd with mod_dav_fs. A restart keeps the files. */
export async function startApache(
  scope: Scope,
  { auth = 'Basic' }: { readonly auth?: 'Basic' | 'Digest' } = {},
): Promise<WebdavServer | undefined> {
  const program = needServer(scope, 'apache');
  if (program === undefined) return undefined;
  const server = await ServerProcess.reserve(scope);
  const root = join(server.folder, 'files');
  const state = join(server.folder, 'state');
  for (const folder of [root, state]) mkdirSync(folder);
  if (process.getuid?.() === 0) for (const folder of [root, state]) giveAway(folder);
  writeFileSync(join(state, 'users'), auth === 'Basic' ? basicEntry() : digestEntry());
  const file = join(server.folder, 'httpd.conf');
  writeFileSync(file, configuration({ auth, port: server.port, root, state }));
  await server.start({ program, args: ['-DFOREGROUND', '-d', state, '-f', file] });
  return {
    server,
    port: server.port,
    url: `http://127.0.0.1:${server.port}`,
    username: WEBDAV_USER,
    password: WEBDAV_PASSWORD,
    root,
  };
}

function giveAway(folder: string): void {
  const id = (flag: string): number =>
    Number(execFileSync('id', [flag, SERVICE_USER], { encoding: 'utf8' }));
  chownSync(folder, id('-u'), id('-g'));
}

function basicEntry(): string {
  const digest = createHash('sha1').update(WEBDAV_PASSWORD).digest('base64');
  return `${WEBDAV_USER}:{SHA}${digest}\n`;
}

function digestEntry(): string {
  const digest = createHash('md5').update(`${WEBDAV_USER}:${REALM}:${WEBDAV_PASSWORD}`);
  return `${WEBDAV_USER}:${REALM}:${digest.digest('hex')}\n`;
}

interface Settings {
  readonly auth: 'Basic' | 'Digest';
  readonly port: number;
  readonly root: string;
  readonly state: string;
}

function configuration({ auth, port, root, state }: Settings): string {
  const kind = auth.toLowerCase();
  const modules = ['mpm_event', 'authn_core', 'authn_file', 'authz_core', 'authz_user', 'dav'];
  const user = process.getuid?.() === 0 ? [`User ${SERVICE_USER}`, `Group ${SERVICE_USER}`] : [];
  return [
    ...[...modules, 'dav_fs', `auth_${kind}`].map(
      (name) => `LoadModule ${name}_module ${MODULES}/mod_${name}.so`,
    ),
    `ServerName localhost`,
    `Listen 127.0.0.1:${port}`,
    `PidFile ${state}/pid`,
    `ErrorLog ${state}/error.log`,
    ...user,
    `DocumentRoot ${root}`,
    `DavLockDB ${state}/lock`,
    'ServerLimit 2',
    'ThreadsPerChild 16',
    'MaxRequestWorkers 32',
    'StartServers 1',
    `<Directory ${root}>`,
    'Dav On',
    `AuthType ${auth}`,
    `AuthName ${REALM}`,
    `Auth${auth}Provider file`,
    `AuthUserFile ${state}/users`,
    'Require valid-user',
    '</Directory>',
    '',
  ].join('\n');
}
