import { dirname } from 'node:path';
import { formatTxid, NO_TXID, parseTxid, type Txid } from '../formats/ltx/index.ts';
import { wrapError } from '../lib/errors.ts';
import type { FileSystem } from '../lib/file-system.ts';
import { isMissing } from '../lib/os-error.ts';

/** More than a bookmark ever has. */
const BYTES_MAX = 64;

/** Where a follower's position is kept. Spec: formats 5.3. */
export function bookmarkPath(outputPath: string): string {
  return `${outputPath}-txid`;
}

/**
 * TXID of the state that a follower holds, 0 without a bookmark. White space around it does not matter.
 *
 * @throws LitestreamError `ERR_TXID`, `ERR_IO`: `read txid file for crash recovery: …`
 */
export async function readBookmark(fileSystem: FileSystem, outputPath: string): Promise<Txid> {
  try {
    const file = await fileSystem.open('follow:bookmark-read', bookmarkPath(outputPath), 'read');
    try {
      const bytes = new Uint8Array(BYTES_MAX);
      const length = await file.read('follow:bookmark-read', bytes, 0);
      return parseTxid(new TextDecoder().decode(bytes.subarray(0, length)).trim());
    } finally {
      await file.close();
    }
  } catch (error) {
    if (isMissing(error)) return NO_TXID;
    throw wrapError('read txid file for crash recovery', error);
  }
}

/** Replaces the bookmark in one step and makes it durable. Only after the state that it names is. */
export async function writeBookmark(
  fileSystem: FileSystem,
  outputPath: string,
  txid: Txid,
): Promise<void> {
  const path = bookmarkPath(outputPath);
  const temporary = `${path}.tmp`;
  const file = await fileSystem.open('follow:bookmark-create', temporary, 'create');
  try {
    await file.write('follow:bookmark-write', new TextEncoder().encode(`${formatTxid(txid)}\n`), 0);
    await file.sync('follow:bookmark-sync');
  } finally {
    await file.close();
  }
  await fileSystem.rename('follow:bookmark-rename', temporary, path);
  await fileSystem.syncDirectory('follow:bookmark-folder', dirname(path));
}

/** A bookmark of an older output must not be taken for that of a new one. */
export async function removeBookmark(fileSystem: FileSystem, outputPath: string): Promise<void> {
  const path = bookmarkPath(outputPath);
  if ((await fileSystem.stat('follow:bookmark-stat', path)) === undefined) return;
  await fileSystem.remove('follow:bookmark-remove', path);
  await fileSystem.syncDirectory('follow:bookmark-folder', dirname(path));
}
