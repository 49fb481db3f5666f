import { isLitestreamError } from '../../lib/errors.ts';
import { openSession, type Opened, type OpenerOptions } from './opener.ts';

/**
 * Opens a session. Where the user wants it, missing or damaged local state is discarded, and everything is written again; never
 * for a passing error of the system. Spec: replication 15.3, W-4.
 *
 * @param onReset - called before local state is discarded.
 * @throws what {@link openSession} throws
 */
export async function openRecovering(init: OpenerOptions, onReset: () => void): Promise<Opened> {
  try {
    return await openSession(init);
  } catch (error) {
    const damaged =
      isLitestreamError(error, 'ERR_LTX_CORRUPTED') || isLitestreamError(error, 'ERR_LTX_MISSING');
    if (!damaged || !init.options.replicas.some((replica) => replica.autoRecover)) throw error;
    const discarded = await init.files.list();
    init.logger.log('warn', 'auto-recovery enabled, resetting local state', {
      min_txid: discarded[0],
      max_txid: discarded.at(-1),
      error,
    });
    onReset();
    await init.files.removeAll();
    for (const replica of init.replicas) replica.forget();
    const opened = await openSession(init);
    init.logger.log('info', 'auto-recovery complete, resuming replication');
    return opened;
  }
}
