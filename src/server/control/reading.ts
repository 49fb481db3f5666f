import type { ActivityReport, DatabaseObservation } from '../../engine/index.ts';
import { errorMessage, isLitestreamError } from '../../lib/errors.ts';
import { jsonReply, type Reply } from '../listener/respond.ts';
import { type ControlContext, errorReply, type Handler } from './context.ts';

/** Undefined stands for a field that is left out. */
function optional<T>(value: T, zero: T): T | undefined {
  return value === zero ? undefined : value;
}

/** Spec: interfaces 2.3. */
export function info(startedAt: { readonly wallMs: number; readonly monotonic: number }): Handler {
  return (_request, { clock, formatTime, pid, store, version }) =>
    jsonReply(200, {
      version,
      pid,
      uptime_seconds: Math.floor((clock.monotonic() - startedAt.monotonic) / 1000),
      started_at: formatTime(startedAt.wallMs),
      database_count: store.databaseCount,
    });
}

export const list: Handler = (_request, { formatTime, store }) =>
  jsonReply(200, {
    databases: store.observe().map(({ lastSyncAt, path, status }) => ({
      path,
      status,
      last_sync_at: lastSyncAt === undefined ? undefined : formatTime(lastSyncAt),
    })),
  });

/** The path of a query, absolute and clean; or the answer if there is none. */
function queryPath(query: URLSearchParams, context: ControlContext): string | Reply {
  const path = query.get('path') ?? '';
  if (path === '') return errorReply(400, 'path required');
  try {
    return context.normalizePath(path);
  } catch (error) {
    return errorReply(400, `invalid path: ${errorMessage(error)}`);
  }
}

export const txid: Handler = async ({ query }, context) => {
  const path = queryPath(query, context);
  if (typeof path !== 'string') return path;
  try {
    return jsonReply(200, { txid: Number(await context.store.position(path)) });
  } catch (error) {
    if (isLitestreamError(error, 'ERR_DB_NOT_FOUND')) return errorReply(404, 'database not found');
    return errorReply(500, errorMessage(error));
  }
};

function activityFields(
  report: ActivityReport,
  formatTime: (ms: number) => string,
): Record<string, unknown> {
  return {
    operation: 'sync',
    phase: report.phase,
    started_at: formatTime(report.startedAt),
    updated_at: formatTime(report.updatedAt),
    elapsed_seconds: report.elapsedMs / 1000,
    txid: optional(Number(report.txid), 0),
    wal_size: optional(report.walSize, 0),
    last_synced_wal_offset: optional(report.lastSyncedWalOffset, 0),
    snapshotting: optional(report.snapshotting, false),
    checkpoint_mode: optional(report.checkpointMode, ''),
    reason: optional(report.reason, ''),
    error: optional(report.error, ''),
    executor_waiter_count: optional(report.waiters, 0),
    executor_wait_started_at:
      report.waitStartedAt === undefined ? undefined : formatTime(report.waitStartedAt),
    executor_wait_seconds: optional(report.waitMs / 1000, 0),
  };
}

/** For the diagnosis of a database that is stuck: never waits. */
export const syncStatus: Handler = ({ query }, context) => {
  const { formatTime, store } = context;
  let found: readonly DatabaseObservation[] = store.observe();
  if ((query.get('path') ?? '') !== '') {
    const path = queryPath(query, context);
    if (typeof path !== 'string') return path;
    found = found.filter((database) => database.path === path);
    if (found.length === 0) return errorReply(404, 'database not found');
  }
  return jsonReply(200, {
    databases: found.map(({ activity, path }) => ({
      path,
      active: activity?.active ?? false,
      ...(activity === undefined ? {} : activityFields(activity, formatTime)),
    })),
  });
};

/** Local and remote positions, and how far each replica is behind. Spec: interfaces 8.1. */
export const status: Handler = (_request, { formatTime, store }) => {
  const time = (ms: number | undefined): string | undefined =>
    ms === undefined ? undefined : formatTime(ms);
  return jsonReply(
    200,
    store.observe().map((database) => ({
      path: database.path,
      status: database.status,
      txid: Number(database.txid),
      replicated_txid: Number(database.replicatedTxid),
      pending_files: database.pendingFiles,
      lag_seconds: Math.max(0, ...database.replicas.map(({ behindMs }) => behindMs)) / 1000,
      last_sync_at: time(database.lastSyncAt),
      error: database.error,
      replicas: database.replicas.map((replica) => ({
        name: replica.name,
        type: replica.type,
        txid: replica.txid === undefined ? undefined : Number(replica.txid),
        pending_files: replica.pendingFiles,
        lag_seconds: replica.behindMs / 1000,
        last_sync_at: time(replica.lastSyncAt),
        error: replica.error,
      })),
    })),
  );
};
