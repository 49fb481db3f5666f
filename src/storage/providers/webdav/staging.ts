import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LitestreamError } from '../../../lib/errors.ts';
import type { FileSystem, OpenFile } from '../../../lib/file-system.ts';
import type { WriteSource } from '../../contract.ts';
import { headerTimestamp, LTX_HEADER_SIZE } from '../../header-time.ts';
import type { HttpBodySource } from '../../http/index.ts';
import { fileSource } from '../../sources.ts';
import { abortable, concatBytes } from '../../streams.ts';

/** Up to this size a file goes through memory. */
const MEMORY_SIZE_MAX = 1024 * 1024;

/** The bytes of one file, safe to be sent more than once. */
export interface Staged {
  readonly body: Uint8Array | HttpBodySource;
  /** Bytes. */
  readonly size: number;
  /** From the header, milliseconds since the Unix epoch. */
  readonly createdAt: number;
  /** Removes what was made for it. Never throws. */
  discard(): Promise<void>;
}

/**
 * Takes everything that may go wrong with a source before the first byte is sent: a server may keep half a file. Small
 * ones go to memory, local files stay where they are, the rest is written to the system's temporary folder.
 *
 * @throws what the source throws; LitestreamError `ERR_LTX_HEADER` if it is no LTX file, `ERR_STORAGE` if it has not the size
 * that it claims.
 */
export async function stage(
  source: WriteSource,
  fileSystem: FileSystem,
  signal: AbortSignal | undefined,
): Promise<Staged> {
  if (source.size <= MEMORY_SIZE_MAX) return inMemory(source, signal);
  if (source.path === undefined) return inFile(source, fileSystem, signal);
  return {
    body: source,
    size: source.size,
    createdAt: await readCreatedAt(source, signal),
    discard: nothing,
  };
}

function nothing(): Promise<void> {
  return Promise.resolve();
}

async function inMemory(source: WriteSource, signal: AbortSignal | undefined): Promise<Staged> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of abortable(source.stream(signal), signal)) {
    size += chunk.length;
    if (size > source.size) break;
    chunks.push(chunk.slice());
  }
  const body = concatBytes(chunks);
  const createdAt = headerTimestamp(body);
  checkSize(source.size, size);
  return { body, size, createdAt, discard: nothing };
}

async function inFile(
  source: WriteSource,
  fileSystem: FileSystem,
  signal: AbortSignal | undefined,
): Promise<Staged> {
  const path = join(tmpdir(), `litestream-webdav-${randomBytes(8).toString('hex')}.ltx`);
  const discard = async (): Promise<void> => {
    try {
      await fileSystem.remove('webdav:unspool', path);
    } catch {
      // The system empties the folder.
    }
  };
  try {
    const file = await fileSystem.open('webdav:spool', path, 'create-new', 0o600);
    const header = await fill(file, source, signal);
    const body = fileSource(fileSystem, path, source.size);
    return { body, size: source.size, createdAt: headerTimestamp(header), discard };
  } catch (error) {
    await discard();
    throw error;
  }
}

/** @returns the first bytes. Closes the file. */
async function fill(
  file: OpenFile,
  source: WriteSource,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  const header = new Uint8Array(LTX_HEADER_SIZE);
  let size = 0;
  try {
    for await (const chunk of abortable(source.stream(signal), signal)) {
      if (size < header.length) header.set(chunk.subarray(0, header.length - size), size);
      await file.write('webdav:spool', chunk, size);
      size += chunk.length;
      if (size > source.size) break;
    }
  } finally {
    await file.close();
  }
  checkSize(source.size, size);
  return header;
}

async function readCreatedAt(
  source: WriteSource,
  signal: AbortSignal | undefined,
): Promise<number> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of abortable(source.stream(signal), signal)) {
    chunks.push(chunk);
    size += chunk.length;
    if (size >= LTX_HEADER_SIZE) break;
  }
  return headerTimestamp(concatBytes(chunks));
}

function checkSize(expected: number, found: number): void {
  if (found === expected) return;
  const text = found > expected ? `more than ${expected}` : String(found);
  throw new LitestreamError('ERR_STORAGE', `source has ${text} bytes, expected ${expected}`, {
    details: { expected, found },
  });
}
