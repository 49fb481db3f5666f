import { LitestreamError } from '../../../lib/errors.ts';
import type { FileSystem, OpenFile } from '../../../lib/file-system.ts';
import { osErrorCode } from '../../../lib/os-error.ts';
import type { WriteSource } from '../../contract.ts';
import { headerTimestamp, LTX_HEADER_SIZE } from '../../header-time.ts';
import { uploadParts } from '../../upload-parts.ts';
import { bytesBody, rangeBody, type RequestBody } from './body.ts';

/** Sources up to this size are held in memory: one pass instead of two. */
const MEMORY_SIZE_MAX = 1024 * 1024;

/** A source cut into parts. */
export interface UploadSource {
  /** Time in the LTX header, milliseconds since the Unix epoch. */
  readonly createdAt: number;
  /** False: every part that was handed out occupies memory until it is dropped. */
  readonly onDisk: boolean;
  /** All parts in order. */
  parts(): AsyncIterable<RequestBody>;
  /** Call when no body is used any more. */
  close(): Promise<void>;
}

interface OpenOptions {
  readonly fileSystem: FileSystem;
  /** Bytes of each part but the last. */
  readonly partSize: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Opens a source. A local file is read part by part when it is needed; anything else comes through memory.
 *
 * @throws LitestreamError `ERR_LTX_HEADER`, `ERR_STORAGE` for a source of another size than it says, errors of the source.
 */
export async function openUploadSource(
  source: WriteSource,
  options: OpenOptions,
): Promise<UploadSource> {
  if (source.path !== undefined && source.size > MEMORY_SIZE_MAX) {
    const file = await openFile(source.path, options.fileSystem);
    if (file !== undefined) return fromFile(file, source, options);
  }
  return fromStream(source, options);
}

/** Undefined if it is gone: the source's own stream knows what to say about that. */
async function openFile(path: string, fileSystem: FileSystem): Promise<OpenFile | undefined> {
  try {
    return await fileSystem.open('s3:open-source', path, 'read');
  } catch (error) {
    if (osErrorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

async function fromFile(
  file: OpenFile,
  source: WriteSource,
  { partSize }: OpenOptions,
): Promise<UploadSource> {
  try {
    const header = new Uint8Array(LTX_HEADER_SIZE);
    const count = await file.read('s3:read-header', header, 0);
    const createdAt = headerTimestamp(header.subarray(0, count));
    const { size } = await file.stat('s3:source-stat');
    if (size !== source.size) throw wrongSize(source.size, size);
    return {
      createdAt,
      onDisk: true,
      async *parts() {
        await Promise.resolve();
        for (let at = 0; at < size; at += partSize) {
          yield rangeBody(file, at, Math.min(partSize, size - at));
        }
      },
      close: () => file.close(),
    };
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function fromStream(
  source: WriteSource,
  { partSize, signal }: OpenOptions,
): Promise<UploadSource> {
  const parts = uploadParts(source, partSize, signal);
  const first = await parts.next();
  // The generator ends with an error or with a last part.
  if (first.done === true) throw wrongSize(source.size, 0);
  const { bytes } = first.value;
  return {
    createdAt: headerTimestamp(bytes.subarray(0, LTX_HEADER_SIZE)),
    onDisk: false,
    async *parts() {
      yield bytesBody(bytes);
      for await (const part of parts) yield bytesBody(part.bytes);
    },
    close: async () => {
      await parts.return();
    },
  };
}

function wrongSize(expected: number, found: number): LitestreamError {
  return new LitestreamError(
    'ERR_STORAGE',
    `source has ${found} bytes, expected ${expected}: it changed while it was read`,
    { details: { field: 'size', offset: 0, expected, found } },
  );
}
