import { formatTxid, LTX_HEADER_SIZE } from '../formats/ltx/index.ts';
import type { CallOptions, FileInfo, ReplicaClient } from '../storage/index.ts';
import type { Logger } from '../telemetry/index.ts';
import { fileName } from './damage.ts';
import { type RestorePlan, SNAPSHOT_LEVEL } from './plan.ts';

const PAGE_HEADER_SIZE = 6;

/** True if the pages of a file are LZ4 frames, as releases up to v0.5.15 wrote them. Spec: formats 2.6. */
async function hasFramePages(
  client: ReplicaClient,
  file: FileInfo,
  options: CallOptions,
): Promise<boolean> {
  const header = new Uint8Array(PAGE_HEADER_SIZE);
  let filled = 0;
  const range = { offset: LTX_HEADER_SIZE, size: PAGE_HEADER_SIZE, ...options };
  for await (const bytes of client.read(file, range)) {
    const part = bytes.subarray(0, header.length - filled);
    header.set(part, filled);
    filled += part.length;
  }
  const [, , , , high = 0, low = 0] = header;
  return filled === header.length && high === 0 && low === 0;
}

/**
 * Warns about a state in the past that begins with a snapshot of an old release: up to v0.5.9 they may hold pages of transactions
 * behind their TXID. The latest state is right, because later files write those pages again. Spec: failures RST-22.
 *
 * Releases from v0.5.10 to v0.5.15 cannot be told from those; a file that cannot be looked at gives no warning.
 */
export async function warnOfOldSnapshot(
  { files, maxTxid, newestTxid }: RestorePlan,
  client: ReplicaClient,
  logger: Logger,
  signal: AbortSignal,
): Promise<void> {
  const [snapshot] = files;
  if (snapshot?.level !== SNAPSHOT_LEVEL || newestTxid <= maxTxid) return;
  try {
    if (!(await hasFramePages(client, snapshot, { signal }))) return;
  } catch {
    // The restore is complete: it has read the file, and nothing here may make it fail.
    return;
  }
  logger.log('warn', 'restored from a snapshot of an old release, which may hold later changes', {
    snapshot: fileName(snapshot),
    txid: formatTxid(maxTxid),
    newest_txid: formatTxid(newestTxid),
    hint: 'releases up to v0.5.9 wrote such snapshots: run litestream verify, and prefer a later TXID or the latest state',
  });
}
