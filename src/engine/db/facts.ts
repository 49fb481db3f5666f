import type { Txid } from '../../formats/ltx/index.ts';
import type { ActivityReport } from './activity.ts';

/** What is known of the capture side without waiting. Ages are milliseconds. */
export interface DatabaseFacts {
  readonly txid: Txid;
  /** Since it was started. */
  readonly openMs: number;
  /** Age of the oldest committed frames that are in no local file, as far as is known. */
  readonly uncapturedMs: number;
  /** Failures of the monitor in a row, and the last one. */
  readonly consecutiveErrors: number;
  readonly error: string | undefined;
  readonly activity: ActivityReport;
}
