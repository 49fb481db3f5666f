import { walSize } from '../../formats/sqlite/index.ts';
import type { LiveDatabase } from '../../sqlite/index.ts';
import type { Logger } from '../../telemetry/index.ts';
import { TRUNCATE_PAGES_DEFAULT } from '../options.ts';
import type { CheckpointMetrics } from './pass-metrics.ts';

/**
 * After a complete checkpoint: gives the disk space of an outsized WAL back; nobody waits for it.
 *
 * @param truncatePages - the threshold; 0 = the default, negative = never.
 */
export async function truncateOutsized(
  live: LiveDatabase,
  truncatePages: number,
  { logger, meter }: { readonly logger: Logger; readonly meter: CheckpointMetrics },
): Promise<void> {
  if (truncatePages < 0) return;
  const threshold = walSize(truncatePages || TRUNCATE_PAGES_DEFAULT, live.pageSize);
  const size = live.wal().size();
  if (size < threshold) return;
  const result = await meter.run('TRUNCATE', () => live.truncateWal());
  if (!result.busy) logger.log('info', 'truncated the wal', { wal_size: size, threshold });
}
