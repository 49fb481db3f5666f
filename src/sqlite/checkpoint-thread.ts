import { parentPort } from 'node:worker_threads';
import { errorMessage } from '../lib/errors.ts';
import { Connection, type CheckpointResult } from './connection.ts';

/**
 * Worker side of {@link CheckpointWorker}: one connection per database, opened at its first checkpoint. While this
 * process's main thread has the file open, closing them here never is the last close.
 */
export type CheckpointRequest =
  | { readonly kind: 'checkpoint'; readonly id: number; readonly path: string }
  | { readonly kind: 'forget'; readonly id: number; readonly path: string };

export type CheckpointReply =
  | { readonly id: number; readonly result: CheckpointResult | undefined }
  | { readonly id: number; readonly error: string };

const connections = new Map<string, Connection>();

function forget(path: string): void {
  connections.get(path)?.close();
  connections.delete(path);
}

function handle(request: CheckpointRequest): CheckpointReply {
  const { id, path } = request;
  try {
    if (request.kind === 'forget') {
      forget(path);
      return { id, result: undefined };
    }
    let connection = connections.get(path);
    if (connection === undefined) {
      connection = Connection.open(path);
      connections.set(path, connection);
    }
    return { id, result: connection.checkpoint('PASSIVE') };
  } catch (error) {
    forget(path);
    return { id, error: errorMessage(error) };
  }
}

parentPort?.on('message', (request: CheckpointRequest) => {
  parentPort?.postMessage(handle(request));
});
