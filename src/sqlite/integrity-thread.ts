import { parentPort, workerData } from 'node:worker_threads';
import { errorMessage } from '../lib/errors.ts';
import { checkIntegritySync, type IntegrityReply, isIntegrityMode } from './integrity.ts';

// Worker side of `checkIntegrity`: one check, one message.

function run(data: unknown): IntegrityReply {
  if (typeof data !== 'object' || data === null) return { error: 'no request' };
  const path: unknown = 'path' in data ? data.path : undefined;
  const mode: unknown = 'mode' in data ? data.mode : undefined;
  if (typeof path !== 'string' || !isIntegrityMode(mode)) return { error: 'no request' };
  try {
    return { rows: checkIntegritySync(path, mode) };
  } catch (error) {
    return { error: errorMessage(error) };
  }
}

parentPort?.postMessage(run(workerData));
