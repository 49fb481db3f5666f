import { formatTxid, matchFileName, type Txid } from '../formats/ltx/index.ts';
import { throwIfAborted } from '../lib/clock.ts';
import { isLitestreamError, LitestreamError } from '../lib/errors.ts';
import type { Logger } from '../telemetry/index.ts';
import type { FileInfo, ReplicaClient } from './contract.ts';
import { headerTimestamp, LTX_HEADER_SIZE } from './header-time.ts';
import { collect, mapOrdered } from './streams.ts';

const PARALLEL_TIMES = 50;

/** A file of a listing before its creation time is known. */
export type UntimedFile = Omit<FileInfo, 'createdAt'>;

export interface ListedFilesOptions<T> {
  readonly level: number;
  /** What the keys of the level begin with. */
  readonly prefix: string;
  readonly seek?: Txid | undefined;
  readonly signal?: AbortSignal | undefined;
  /** For error messages. */
  readonly what: string;
  /** Creation time of a file in milliseconds since the Unix epoch. At most 50 calls are under way. */
  readonly time: (file: UntimedFile, object: T) => number | Promise<number>;
}

/** Where a listing may begin: the least key that a file at or behind `seek` can have. */
export function firstKey(prefix: string, seek: Txid | undefined): string {
  return seek === undefined ? '' : prefix + formatTxid(seek);
}

/**
 * The LTX files in a bucket's listing, page by page: foreign names and files before `seek` are left out, whatever the store
 * has left out already.
 *
 * @throws LitestreamError `ERR_STORAGE` if a page begins before the end of the last one: the order of files would be wrong.
 */
export async function* listedFiles<T extends { readonly key: string; readonly size: number }>(
  pages: AsyncIterable<readonly T[]>,
  { level, prefix, seek, signal, what, time }: ListedFilesOptions<T>,
): AsyncGenerator<FileInfo, void, undefined> {
  const from = firstKey(prefix, seek);
  let last = '';
  for await (const page of pages) {
    throwIfAborted(signal);
    // Names of fixed width: their order is the order of TXIDs.
    const objects = page.toSorted((a, b) => (a.key < b.key ? -1 : 1));
    if ((objects[0]?.key ?? last) < last) throw outOfOrder(what);
    last = objects.at(-1)?.key ?? last;
    const found = objects.flatMap((object) => {
      const txids = object.key < from ? undefined : matchFileName(object.key.slice(prefix.length));
      return txids === undefined ? [] : [{ object, file: { level, ...txids, size: object.size } }];
    });
    const timed = mapOrdered(found, PARALLEL_TIMES, async ({ object, file }) => ({
      ...file,
      createdAt: await time(file, object),
    }));
    for await (const file of timed) {
      throwIfAborted(signal);
      yield file;
    }
  }
}

function outOfOrder(what: string): LitestreamError {
  return new LitestreamError('ERR_STORAGE', `${what}: names are not in order`, {
    hint: 'the server does not list names in the order of their bytes',
  });
}

/** Times of files whose objects do not carry one, as in a bucket that was copied. Says so once. */
export class HeaderTimes {
  readonly #client: Pick<ReplicaClient, 'read'>;
  readonly #logger: Logger;
  #told = false;

  constructor(client: Pick<ReplicaClient, 'read'>, logger: Logger) {
    this.#client = client;
    this.#logger = logger;
  }

  /**
   * The time in the file's header.
   *
   * @param fallback - for what is no LTX file, or is gone by now.
   */
  async of(file: UntimedFile, fallback: number, signal?: AbortSignal): Promise<number> {
    if (file.size < LTX_HEADER_SIZE) return fallback;
    this.#tell(file);
    const range = { offset: 0, size: LTX_HEADER_SIZE, signal };
    try {
      return headerTimestamp(await collect(this.#client.read(file, range)));
    } catch (error) {
      // Whoever wants the file will find out.
      const isNoFile =
        isLitestreamError(error, 'ERR_STORAGE_NOT_FOUND') ||
        isLitestreamError(error, 'ERR_LTX_HEADER');
      if (isNoFile) return fallback;
      throw error;
    }
  }

  #tell({ level, minTxid, maxTxid }: UntimedFile): void {
    if (this.#told) return;
    this.#told = true;
    this.#logger.log('warn', 'object has no timestamp, reading it from the ltx header', {
      level,
      minTXID: minTxid,
      maxTXID: maxTxid,
      hint: 'a bucket copied without its metadata: listings by time take one request per file',
    });
  }
}
