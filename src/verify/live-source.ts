import { decodeHeader, LTX_HEADER_SIZE, type LtxHeader } from '../formats/ltx/index.ts';
import { type Clock, sleep } from '../lib/clock.ts';
import { isLitestreamError } from '../lib/errors.ts';
import { SourceView } from '../sqlite/index.ts';
import { type FileInfo, readRange, type ReplicaClient } from '../storage/index.ts';
import type { SourcePages, VerifySource } from './source.ts';

/** How long to wait for the replica to reach the pinned state, at most, and while nothing new arrives. */
const WAIT_MS = 30_000;
const STILL_MS = 5000;
const POLL_MS = 250;

export interface LiveSourceOptions {
  readonly path: string;
  readonly client: ReplicaClient;
  readonly clock: Clock;
}

/**
 * The database itself as the source, while whatever process uses and replicates it. The state's TXID is found through the newest
 * level-0 file: its header names the place in the WAL where it ends. Without such a file, or when nothing leads from the pinned
 * state to it, the state at the beginning is compared, its TXID unknown.
 */
export function liveSource({ client, clock, path }: LiveSourceOptions): VerifySource {
  return {
    path,
    async pin(signal) {
      const view = await SourceView.open(path, clock, signal);
      if (typeof view === 'string') return view;
      try {
        const file = await meet(view, { client, clock }, signal);
        if (file === undefined && !view.seek()) {
          view.close();
          return `the state of ${path} cannot be pinned now, try again`;
        }
        return pagesOf(view, file);
      } catch (error) {
        view.close();
        throw error;
      }
    },
  };
}

function pagesOf(view: SourceView, file: FileInfo | undefined): SourcePages {
  return {
    txid: file?.maxTxid,
    pageSize: view.pageSize,
    commit: view.commit,
    read: (first, count, target) => view.read(first, count, target),
    release: () => view.close(),
  };
}

/** Waits for a file of the replica at whose end the view can stand. */
async function meet(
  view: SourceView,
  { client, clock }: { client: ReplicaClient; clock: Clock },
  signal: AbortSignal | undefined,
): Promise<FileInfo | undefined> {
  const started = clock.monotonic();
  let newest: FileInfo | undefined;
  let arrivedAt = started;
  for (;;) {
    const found = await newestIncrement(client, newest, signal);
    if (found === undefined) return undefined;
    if (found.maxTxid !== newest?.maxTxid) {
      arrivedAt = clock.monotonic();
      newest = found;
    }
    const header = await headerOf(client, found, signal);
    if (header !== undefined && standsAt(view, header)) return found;
    const now = clock.monotonic();
    if (now - started > WAIT_MS || now - arrivedAt > STILL_MS) return undefined;
    await sleep(clock, POLL_MS, signal);
  }
}

function standsAt(
  view: SourceView,
  { walOffset, walSalt1, walSalt2, walSize }: LtxHeader,
): boolean {
  if (walOffset === 0) return false;
  return view.seek({ salt1: walSalt1, salt2: walSalt2, offset: walOffset + walSize });
}

async function newestIncrement(
  client: ReplicaClient,
  known: FileInfo | undefined,
  signal: AbortSignal | undefined,
): Promise<FileInfo | undefined> {
  let newest = known;
  for await (const file of client.list(0, { seek: known?.minTxid, signal })) {
    if (newest === undefined || file.maxTxid > newest.maxTxid) newest = file;
  }
  return newest;
}

async function headerOf(
  client: ReplicaClient,
  file: FileInfo,
  signal: AbortSignal | undefined,
): Promise<LtxHeader | undefined> {
  try {
    return decodeHeader(await readRange(client, file, { size: LTX_HEADER_SIZE, signal }));
  } catch (error) {
    const gone = isLitestreamError(error, 'ERR_STORAGE_NOT_FOUND');
    if (gone || isLitestreamError(error, 'ERR_LTX_HEADER')) return undefined;
    throw error;
  }
}
