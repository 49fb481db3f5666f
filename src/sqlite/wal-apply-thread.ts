import { parentPort } from 'node:worker_threads';
import { errorMessage } from '../lib/errors.ts';
import { applyWalSync, type WalApplyReply } from './wal-apply.ts';

// Worker side of `WalApplier`: one message per WAL, in turn.

function handle(path: unknown): WalApplyReply {
  if (typeof path !== 'string') return { error: 'no request' };
  try {
    applyWalSync(path);
    return {};
  } catch (error) {
    return { error: errorMessage(error) };
  }
}

parentPort?.on('message', (path: unknown) => {
  parentPort?.postMessage(handle(path));
});
