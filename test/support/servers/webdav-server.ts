import { makeSecret } from '../secrets.ts';
import type { ServerProcess } from './server-process.ts';

/** How to reach a WebDAV server. */
export interface WebdavServer {
  readonly server: ServerProcess;
  readonly port: number;
  /** `http://127.0.0.1:PORT`; the collection `/` exists and is empty. */
  readonly url: string;
  readonly username: string;
  readonly password: string;
  /** Folder with the files. */
  readonly root: string;
}

export const WEBDAV_USER = 'litestream';
export const WEBDAV_PASSWORD: string = makeSecret('WebDAV password', 'se:cret+/@');
