import { throwIfAborted } from '../../../lib/clock.ts';
import { LitestreamError } from '../../../lib/errors.ts';
import type { WriteSource } from '../../contract.ts';
import { headerTimestamp, LTX_HEADER_SIZE } from '../../header-time.ts';
import { abortable, concatBytes } from '../../streams.ts';
import type { RemoteFiles } from './remote-files.ts';

/** Bytes of one request. */
const PIECE_SIZE = 64 * 1024;
/** Requests under way at once: 2 MiB hide a round trip of 100 ms up to 20 MB/s, and are what OpenSSH takes in advance. */
const WINDOW = 32;

/** Part of an open file. */
export interface Range {
  readonly offset: number;
  /** 0 = to the end. */
  readonly size: number;
  readonly signal?: AbortSignal | undefined;
}

/** Streams part of an open file, with several requests under way. */
export async function* download(
  files: RemoteFiles,
  handle: Buffer,
  { offset, size, signal }: Range,
): AsyncGenerator<Uint8Array, void, undefined> {
  const fileSize = size === 0 ? (await files.fileStat(handle)).size : Infinity;
  const end = Math.min(fileSize, size === 0 ? Infinity : offset + size);
  const window: { readonly wanted: number; readonly bytes: Promise<Uint8Array> }[] = [];
  let position = offset;
  for (;;) {
    while (position < end && window.length < WINDOW) {
      const wanted = Math.min(PIECE_SIZE, end - position);
      const bytes = files.read(handle, position, wanted);
      bytes.catch(() => {
        // Reported when its turn comes, unless the reader has left.
      });
      window.push({ wanted, bytes });
      position += wanted;
    }
    const first = window.shift();
    if (first === undefined) return;
    const bytes = await first.bytes;
    throwIfAborted(signal);
    if (bytes.length > 0) yield bytes;
    if (bytes.length < first.wanted) return; // the end of the file
  }
}

/** Where an upload goes. */
export interface UploadTarget {
  readonly files: RemoteFiles;
  readonly handle: Buffer;
  /** For messages. */
  readonly path: string;
  /** False: each write waits for the one before. */
  readonly concurrent: boolean;
}

/**
 * Writes a source into an open file.
 *
 * @returns the time in the LTX header, in milliseconds since the Unix epoch.
 * @throws LitestreamError `ERR_LTX_HEADER` for what is no LTX file, `ERR_STORAGE` for a source of another size than it says.
 */
export async function upload(
  target: UploadTarget,
  source: WriteSource,
  signal: AbortSignal | undefined,
): Promise<number> {
  const writer = new PieceWriter(target);
  try {
    for await (const chunk of abortable(source.stream(signal), signal)) await writer.take(chunk);
    await writer.finish();
  } catch (error) {
    await writer.settle();
    throw error;
  }
  const createdAt = headerTimestamp(writer.header);
  if (writer.size !== source.size) {
    const details = { path: target.path, expected: source.size, found: writer.size };
    const message = `write ${target.path}: source has ${writer.size} bytes, expected ${source.size}`;
    throw new LitestreamError('ERR_STORAGE', message, { details: { field: 'size', ...details } });
  }
  return createdAt;
}

/** Cuts a stream into requests and keeps a bounded number of them under way. */
class PieceWriter {
  /** The first bytes, 100 if there are that many. */
  header: Uint8Array = new Uint8Array(0);
  /** Bytes that were taken. */
  size = 0;
  readonly #target: UploadTarget;
  readonly #limit: number;
  readonly #underWay = new Set<Promise<void>>();
  #failure: { readonly error: unknown } | undefined;
  /** Short chunks that are still to be sent together. */
  #rest: Uint8Array[] = [];
  #restSize = 0;
  #position = 0;

  constructor(target: UploadTarget) {
    this.#target = target;
    this.#limit = target.concurrent ? WINDOW : 1;
  }

  async take(chunk: Uint8Array): Promise<void> {
    if (this.header.length < LTX_HEADER_SIZE) {
      const missing = LTX_HEADER_SIZE - this.header.length;
      this.header = concatBytes([this.header, chunk.slice(0, missing)]);
      // Nothing more is sent of what is no LTX file.
      if (this.header.length === LTX_HEADER_SIZE) headerTimestamp(this.header);
    }
    this.size += chunk.length;
    if (this.#restSize + chunk.length < PIECE_SIZE) {
      // The chunk belongs to the source, which may use it again.
      this.#rest.push(chunk.slice());
      this.#restSize += chunk.length;
      return;
    }
    await this.#flush();
    for (let at = 0; at < chunk.length; at += PIECE_SIZE)
      await this.#send(chunk.subarray(at, at + PIECE_SIZE));
  }

  /** Sends what is left and waits for all answers. */
  async finish(): Promise<void> {
    await this.#flush();
    await this.settle();
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  /** Waits until nothing is under way. Never throws. */
  async settle(): Promise<void> {
    await Promise.all(this.#underWay);
  }

  async #flush(): Promise<void> {
    if (this.#restSize === 0) return;
    const bytes = concatBytes(this.#rest);
    this.#rest = [];
    this.#restSize = 0;
    await this.#send(bytes);
  }

  /** The library copies the bytes before this returns. */
  async #send(bytes: Uint8Array): Promise<void> {
    while (this.#underWay.size >= this.#limit) await Promise.race(this.#underWay);
    if (this.#failure !== undefined) throw this.#failure.error;
    const { files, handle } = this.#target;
    const work = files.write(handle, bytes, this.#position).then(
      () => {
        this.#underWay.delete(work);
      },
      (error: unknown) => {
        this.#underWay.delete(work);
        this.#failure ??= { error };
      },
    );
    this.#underWay.add(work);
    this.#position += bytes.length;
  }
}
