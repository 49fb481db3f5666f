import { formatFileName } from '../formats/ltx/index.ts';
import type { FileKey } from './contract.ts';

/** The kinds of remote, as `type:` in a configuration names them. */
export type ReplicaType = 'file' | 's3' | 'gs' | 'abs' | 'oss' | 'sftp' | 'nats' | 'webdav';

/** Where the objects of one replica lie below the configured path. Spec: formats 4.1. */
export interface Layout {
  /** What the names of one level have in common, with the slash at the end. */
  levelPrefix(path: string, level: number): string;
  /** Name of an LTX file. */
  fileKey(path: string, key: FileKey): string;
}

/**
 * Cleans a slash-separated path: no doubled or trailing slashes, `.` and `..` resolved, no escape above a leading slash.
 * An empty path becomes `.`.
 */
export function cleanPath(path: string): string {
  const rooted = path.startsWith('/');
  const parts: string[] = [];
  for (const part of path.split('/')) {
    if (part === '' || part === '.') continue;
    if (part !== '..') parts.push(part);
    else if (parts.length > 0 && parts.at(-1) !== '..') parts.pop();
    else if (!rooted) parts.push('..');
  }
  const joined = parts.join('/');
  if (rooted) return `/${joined}`;
  return joined === '' ? '.' : joined;
}

/** Joins the non-empty parts with slashes and cleans the result. Empty if all parts are. */
export function joinPath(...parts: readonly string[]): string {
  const filled = parts.filter((part) => part !== '');
  return filled.length === 0 ? '' : cleanPath(filled.join('/'));
}

/**
 * `P/NNNN/F`: plain concatenation, four hex digits. A path of `.` or '' yields keys that begin with `./` or `/`; buckets with
 * such keys exist, so nothing is cleaned here.
 */
export const hexLayout: Layout = {
  levelPrefix: (path, level) => `${path}/${level.toString(16).padStart(4, '0')}/`,
  fileKey: (path, key) =>
    hexLayout.levelPrefix(path, key.level) + formatFileName(key.minTxid, key.maxTxid),
};

/** `P/ltx/N/F`: joined and cleaned, decimal level. */
export const ltxLayout: Layout = {
  levelPrefix: (path, level) => `${joinPath(path, 'ltx', String(level))}/`,
  fileKey: (path, key) =>
    ltxLayout.levelPrefix(path, key.level) + formatFileName(key.minTxid, key.maxTxid),
};

const LAYOUTS: Readonly<Record<ReplicaType, Layout>> = {
  abs: ltxLayout,
  file: ltxLayout,
  gs: ltxLayout,
  nats: ltxLayout,
  oss: hexLayout,
  s3: hexLayout,
  sftp: ltxLayout,
  webdav: ltxLayout,
};

/** The layout that a kind of remote uses. */
export function layoutFor(type: ReplicaType): Layout {
  return LAYOUTS[type];
}
