import type { DatabaseOptions, Store } from '../../engine/index.ts';
import type { Clock } from '../../lib/clock.ts';
import { jsonReply, type Reply } from '../listener/respond.ts';

/** What the endpoints stand on. */
export interface ControlContext {
  readonly store: Store;
  readonly clock: Clock;
  readonly version: string;
  readonly pid: number;
  /** The program's arguments, its own name first. */
  readonly argv: readonly string[];
  /** Wall-clock milliseconds as RFC 3339 in the local zone. */
  readonly formatTime: (ms: number) => string;
  /** Makes a path absolute and clean. @throws LitestreamError */
  readonly normalizePath: (path: string) => string;
  /** What a database and a replica's URL stand for. @throws LitestreamError if the URL is unusable */
  readonly createDatabase: (path: string, replicaUrl: string) => Promise<DatabaseOptions>;
}

/** One request whose body, if any, has been read and decoded. */
export interface ControlRequest {
  readonly query: URLSearchParams;
  readonly fields: ReadonlyMap<string, unknown>;
  /** Fires when the client has gone, or the server ends. */
  readonly signal: AbortSignal;
}

export type Handler = (request: ControlRequest, context: ControlContext) => Promise<Reply> | Reply;

export function errorReply(status: number, error: string, details?: unknown): Reply {
  return jsonReply(status, details === undefined ? { error } : { error, details });
}
