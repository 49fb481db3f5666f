import type { BlockBlobClient, BlockBlobCommitBlockListOptions } from '@azure/storage-blob';
import { randomUUID } from 'node:crypto';
import { LitestreamError } from '../../../lib/errors.ts';
import { formatRfc3339 } from '../../../lib/time-text.ts';
import type { WriteOptions, WriteSource } from '../../contract.ts';
import { headerTimestamp, LTX_HEADER_SIZE } from '../../header-time.ts';
import { type UploadPart, uploadParts } from '../../upload-parts.ts';
import type { Attempts } from './attempts.ts';

/** Metadata names have to be C# identifiers, so there is no hyphen as elsewhere. */
export const TIMESTAMP_KEY = 'litestreamtimestamp';

const BLOCK_SIZE = 8 * 1024 * 1024;
/** The service takes 50,000; the rest is reserve. */
const BLOCKS_MAX = 45_000;
const PARALLEL_BLOCKS = 3;

/** Bytes of one block: 8 MiB, more only where a file would have too many of them. */
export function blockSize(fileSize: number): number {
  return Math.max(BLOCK_SIZE, Math.ceil(fileSize / BLOCKS_MAX));
}

/** Blocks of different uploads of one blob must never be taken for each other. */
function blockId(upload: string, { number }: UploadPart): string {
  return Buffer.from(`${upload}-${String(number).padStart(5, '0')}`).toString('base64');
}

/** True if the kind of account has no tiers: then nothing else about the request is wrong. */
function refusesTier(error: unknown): boolean {
  if (!(error instanceof LitestreamError)) return false;
  const { status, code } = error.details;
  return (status === 400 || status === 409) && /tier/i.test(`${String(code)} ${error.message}`);
}

/** Writes blobs. Remembers whether the account knows access tiers. */
export class Uploader {
  readonly #attempts: Attempts;
  #tier: { readonly tier?: 'Hot' } = { tier: 'Hot' };

  constructor(attempts: Attempts) {
    this.#attempts = attempts;
  }

  /**
   * Stores the source: one request up to the size of a block, else blocks and a list of them, which makes the blob visible.
   *
   * @returns the time of the LTX header.
   */
  async upload(
    blob: BlockBlobClient,
    source: WriteSource,
    { what, ...options }: WriteOptions & { readonly what: string },
  ): Promise<number> {
    const signal = this.#attempts.signal(options.signal);
    const upload = randomUUID();
    const ids: string[] = [];
    const staging = new Set<Promise<void>>();
    const failed = new AbortController();
    const stop = AbortSignal.any([signal, failed.signal]);
    const stage = (part: UploadPart): void => {
      const id = blockId(upload, part);
      ids.push(id);
      const { bytes } = part;
      const work = this.#attempts
        .run({ what, signal: stop, bytes: bytes.length }, (abortSignal) =>
          blob.stageBlock(id, bytes, bytes.length, { abortSignal }),
        )
        .then(() => void staging.delete(work));
      work.catch(() => failed.abort());
      staging.add(work);
    };
    let createdAt = 0;
    try {
      for await (const part of uploadParts(source, blockSize(source.size), signal)) {
        if (part.number === 1) createdAt = headerTimestamp(part.bytes.subarray(0, LTX_HEADER_SIZE));
        if (part.number === 1 && part.last) {
          await this.#put(blob, part.bytes, { ...options, what, createdAt });
          return createdAt;
        }
        stage(part);
        while (staging.size >= PARALLEL_BLOCKS) await Promise.race(staging);
      }
      await Promise.all(staging);
    } catch (error) {
      failed.abort();
      await Promise.allSettled(staging);
      throw error;
    }
    await this.#publish({ ...options, what, createdAt }, (request) =>
      blob.commitBlockList(ids, request),
    );
    return createdAt;
  }

  #put(blob: BlockBlobClient, bytes: Uint8Array, options: PublishOptions): Promise<void> {
    return this.#publish({ ...options, bytes: bytes.length }, (request) =>
      blob.upload(bytes, bytes.length, request),
    );
  }

  /** The request that makes the blob visible. */
  async #publish(
    { what, signal, bytes, ifAbsent, createdAt }: PublishOptions,
    request: (options: BlockBlobCommitBlockListOptions) => Promise<unknown>,
  ): Promise<void> {
    const attempt = (): Promise<unknown> =>
      this.#attempts.run({ what, signal, bytes }, (abortSignal) =>
        request({
          abortSignal,
          blobHTTPHeaders: { blobContentType: 'application/octet-stream' },
          metadata: { [TIMESTAMP_KEY]: formatRfc3339(createdAt) },
          ...this.#tier,
          ...(ifAbsent === true && { conditions: { ifNoneMatch: '*' } }),
        }),
      );
    try {
      await attempt();
    } catch (error) {
      if (this.#tier.tier === undefined || !refusesTier(error)) throw error;
      this.#tier = {};
      await attempt();
    }
  }
}

interface PublishOptions extends WriteOptions {
  readonly what: string;
  readonly bytes?: number | undefined;
  /** Milliseconds since the Unix epoch. */
  readonly createdAt: number;
}
