import { LitestreamError } from '../../../lib/errors.ts';
import type { FileSystem, OpenFile, Ownership } from '../../../lib/file-system.ts';
import { osErrorCode } from '../../../lib/os-error.ts';
import type { WriteSource } from '../../contract.ts';
import { headerTimestamp, LTX_HEADER_SIZE } from '../../header-time.ts';
import { abortable } from '../../streams.ts';
import { BufferedWriter } from './buffered-writer.ts';
import { copyLarge } from './copy-large.ts';
import { onDisk, storageError } from './errors.ts';

/** Smaller sources are read and written: two calls each instead of the eleven of a copy in the kernel, which sets times and owner, too. */
const KERNEL_COPY_MIN = 64 * 1024;
/** Larger sources are copied piece by piece: a copy in the kernel cannot be stopped half way. */
const KERNEL_COPY_MAX = 64 * 1024 * 1024;
/** Of a file that is not given another one. */
export const FILE_MODE = 0o600;

export interface FillOptions {
  readonly source: WriteSource;
  readonly signal: AbortSignal | undefined;
}

/** Brings the source's bytes into the temporary file. @returns that file, open. */
export async function fillFile(
  fileSystem: FileSystem,
  temporary: string,
  { source, signal }: FillOptions,
): Promise<OpenFile> {
  const filled =
    (await adopt(fileSystem, temporary, source)) ||
    (await copyInKernel(fileSystem, temporary, source));
  if (filled) return onDisk(fileSystem.open('file:reopen', temporary, 'write'));
  const { path, size } = source;
  const isSmall = path === undefined || size < KERNEL_COPY_MIN;
  const from = isSmall ? undefined : await openSource(fileSystem, path);
  try {
    return await create(fileSystem, temporary, async (file) => {
      if (from !== undefined) return copyLarge(from, file, signal);
      const writer = new BufferedWriter(file, 'file:write', source.size);
      for await (const chunk of abortable(source.stream(signal), signal)) {
        await writer.write(chunk);
      }
      return writer.end();
    });
  } finally {
    await from?.close();
  }
}

/** Gives a file that nobody else needs the temporary name, too. False where that cannot be, as between two disks. */
async function adopt(
  fileSystem: FileSystem,
  temporary: string,
  { isSpare, path }: WriteSource,
): Promise<boolean> {
  if (path === undefined || isSpare !== true) return false;
  try {
    // Left by a write that was interrupted.
    await fileSystem.remove('file:clean-up', temporary);
    await fileSystem.link('file:adopt', path, temporary);
    return true;
  } catch {
    // Whatever it was: a copy is made, or says what is wrong.
    return false;
  }
}

/** Copies a file of middle size in the kernel. False if it is of another, or gone. */
async function copyInKernel(
  fileSystem: FileSystem,
  temporary: string,
  { path, size }: WriteSource,
): Promise<boolean> {
  if (path === undefined || size < KERNEL_COPY_MIN || size > KERNEL_COPY_MAX) return false;
  try {
    await fileSystem.copy('file:copy', path, temporary);
    return true;
  } catch (error) {
    // The folder exists, so it is the source that is gone. Its stream knows why.
    if (osErrorCode(error) !== 'ENOENT') throw storageError(error);
    return false;
  }
}

/** Undefined if the file is gone: its stream knows why. */
async function openSource(fileSystem: FileSystem, path: string): Promise<OpenFile | undefined> {
  try {
    return await fileSystem.open('file:open-source', path, 'read');
  } catch (error) {
    if (osErrorCode(error) !== 'ENOENT') throw error;
    return undefined;
  }
}

async function create(
  fileSystem: FileSystem,
  temporary: string,
  fill: (file: OpenFile) => Promise<void>,
): Promise<OpenFile> {
  const file = await onDisk(fileSystem.open('file:create', temporary, 'create', FILE_MODE));
  try {
    await fill(file);
    return file;
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** Checks a temporary file, gives it time and owner, makes it durable and closes it. @returns the header's time. */
export async function completeFile(
  file: OpenFile,
  path: string,
  { size, owner }: { readonly size: number; readonly owner: Ownership | undefined },
): Promise<number> {
  try {
    const header = new Uint8Array(LTX_HEADER_SIZE);
    const count = await onDisk(file.read('file:read-header', header, 0));
    const createdAt = headerTimestamp(header.subarray(0, count));
    const stat = await onDisk(file.stat('file:write-stat'));
    if (stat.size !== size) {
      const details = { path, field: 'size', expected: size, found: stat.size };
      const message = `write ${path}: source has ${stat.size} bytes, expected ${size}`;
      throw new LitestreamError('ERR_STORAGE', message, { details });
    }
    const { uid, gid } = stat;
    await onDisk(file.setOwner('file:set-owner', owner ?? { mode: FILE_MODE, uid, gid }));
    await onDisk(file.setTimes('file:set-times', createdAt));
    // After the times, so that no crash leaves the file with another creation time.
    await onDisk(file.sync('file:sync'));
    return createdAt;
  } finally {
    await onDisk(file.close());
  }
}
