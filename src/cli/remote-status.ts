import { basename, join } from 'node:path';
import { createReplicaClient } from '../app/index.ts';
import type { ResolvedDatabase } from '../config/index.ts';
import { formatTxid, matchFileName } from '../formats/ltx/index.ts';
import { errorMessage, LitestreamError } from '../lib/errors.ts';
import { formatDuration } from '../lib/go-duration.ts';
import type { FileInfo } from '../storage/index.ts';
import type { Io } from './command.ts';
import { commandLogger } from './logging.ts';
import { type RecoveryWindow, recoveryWindow } from './recovery-window.ts';

const LEVEL_MAX = 9;
const REMOTE_TIMEOUT_MS = 30_000;

/** What `status -remote` adds to a row: `-` where the replica is empty or cannot be asked. */
export interface RemoteColumns {
  /** 16 hex digits. */
  readonly replica_txid: string;
  /** A duration in whole seconds. */
  readonly lag: string;
  readonly recovery?: RecoveryWindow;
}

/** What a database's default replica holds, at all levels. */
async function remoteFiles(database: ResolvedDatabase, io: Io): Promise<FileInfo[]> {
  const { clock, environment, fileSystem } = io;
  const [replica] = database.replicas;
  if (replica === undefined) return [];
  const logger = commandLogger(io, { toStderr: true }).with({ db: basename(database.path) });
  const ports = { clock, environment, fileSystem, logger };
  const client = await createReplicaClient(replica.location, ports, database.path);
  const late = new AbortController();
  const timer = clock.timer(REMOTE_TIMEOUT_MS, () => {
    late.abort(new LitestreamError('ERR_TIMEOUT', 'context deadline exceeded'));
  });
  try {
    const files: FileInfo[] = [];
    for (let level = 0; level <= LEVEL_MAX; level++) {
      for await (const file of client.list(level, { signal: late.signal })) files.push(file);
    }
    return files;
  } finally {
    timer.cancel();
    await client.close();
  }
}

/** Age of the oldest local file above a TXID; 0 if there is none. */
async function lagMs(metaPath: string, above: bigint, { clock, fileSystem }: Io): Promise<number> {
  const folder = join(metaPath, 'ltx', '0');
  let oldest: { readonly txid: bigint; readonly name: string } | undefined;
  for (const name of await fileSystem.list('status:list', folder)) {
    const txid = matchFileName(name)?.maxTxid ?? 0n;
    if (txid > above && (oldest === undefined || txid < oldest.txid)) oldest = { txid, name };
  }
  if (oldest === undefined) return 0;
  const stat = await fileSystem.stat('status:stat-file', join(folder, oldest.name));
  return stat === undefined ? 0 : Math.max(0, clock.now() - stat.mtimeMs);
}

/**
 * Asks the default replica of a database where it stands. Never throws: one that cannot be asked is a line on stderr.
 *
 * Spec: cli 23.6.
 */
export async function remoteColumns(database: ResolvedDatabase, io: Io): Promise<RemoteColumns> {
  try {
    const files = await remoteFiles(database, io);
    const txid = files.reduce(
      (highest, { maxTxid }) => (maxTxid > highest ? maxTxid : highest),
      0n,
    );
    const recovery = recoveryWindow(files);
    const lag = await lagMs(database.metaPath, txid, io);
    return {
      replica_txid: txid === 0n ? '-' : formatTxid(txid),
      lag: formatDuration(Math.floor(lag / 1000) * 1000),
      ...(recovery === undefined ? {} : { recovery }),
    };
  } catch (error) {
    const attributes = { path: database.path, error: errorMessage(error) };
    commandLogger(io, { toStderr: true }).log('error', 'cannot list replica', attributes);
    return { replica_txid: '-', lag: '-' };
  }
}
