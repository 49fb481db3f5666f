import { NO_TXID, type Txid } from '../../formats/ltx/index.ts';
import type { ActivityReport } from '../db/activity.ts';
import type { Database } from '../db/database.ts';
import type { Replica } from '../replica/replica.ts';
import type { UpkeepObservation } from './upkeep-age.ts';

/**
 * `replicating`: open, and everything runs by itself; `open`: open, only explicit syncs (`-once`); `stopped`: registered, not open.
 * Open means started, not that the file exists or that uploads succeed. Spec: interfaces 2.3.
 */
export type DatabaseStatus = 'replicating' | 'open' | 'stopped';

/** What is known of one replica without asking it. Ages are milliseconds. */
export interface ReplicaObservation {
  /** The configured name, else the type. */
  readonly name: string;
  readonly type: string;
  readonly location: string;
  readonly syncIntervalMs: number;
  /** TXID up to which the replica holds everything; undefined before the first contact. */
  readonly txid: Txid | undefined;
  /** Wall-clock milliseconds of the last successful pass, also of one that had nothing to upload. */
  readonly lastSyncAt: number | undefined;
  /**
   * Age of the oldest local transaction that is not known to be in the replica; 0 if there is none. Before the first contact it counts
   * from the start.
   */
  readonly behindMs: number;
  /** Local files that are not in the replica. */
  readonly pendingFiles: number;
  /** Failures in a row; 0 while it works. */
  readonly consecutiveErrors: number;
  /** The last failure while it fails. */
  readonly error: string | undefined;
  /** Another writer was found; nothing is uploaded until a restart. */
  readonly hasConflict: boolean;
  /** What the last verification on schedule found to be wrong; undefined if nothing is known to be. */
  readonly damage?: string | undefined;
  /** Compaction, snapshots and retention, where they run by themselves. */
  readonly upkeep?: readonly UpkeepObservation[] | undefined;
}

/** What is known of one database without waiting for anything. Ages are milliseconds. */
export interface DatabaseObservation {
  readonly path: string;
  readonly status: DatabaseStatus;
  /** Newest local TXID; 0 before the first. */
  readonly txid: Txid;
  /** TXID that every replica has, as far as is known since the start; 0 if nothing is known. */
  readonly replicatedTxid: Txid;
  /** Wall-clock milliseconds of the last successful pass of the replica that is longest without one; undefined if one had none yet. */
  readonly lastSyncAt: number | undefined;
  /** How often the capture writes at most if nothing else asks for it; 0 if it is not open, or does so only on request. */
  readonly monitorIntervalMs: number;
  /** Since it was opened; 0 if it is not. */
  readonly openMs: number;
  /** Age of the oldest committed frames that are in no local file, as far as is known; 0 if there are none. */
  readonly uncapturedMs: number;
  /** How long the source has been ahead of a replica: the largest of `uncapturedMs` and the replicas' `behindMs`. */
  readonly aheadMs: number;
  /** The largest number of files that a replica lacks. */
  readonly pendingFiles: number;
  /** Failures of the capture in a row; 0 while it works. */
  readonly consecutiveErrors: number;
  /** The last failure of the capture while it fails. */
  readonly error: string | undefined;
  /** What the capture is doing, or did last; undefined if it is not open. */
  readonly activity?: ActivityReport | undefined;
  /** In order; the first is the default. */
  readonly replicas: readonly ReplicaObservation[];
}

/** A database of the store, open or not. */
export interface Observed {
  readonly path: string;
  readonly status: DatabaseStatus;
  /** The last known, for when it is not open. */
  readonly txid: Txid;
  /** The open database. */
  readonly database: Database | undefined;
  /** Of each of its replicas. */
  readonly upkeep?: readonly (readonly UpkeepObservation[])[] | undefined;
}

/** Says what is known now. Never waits. Spec: failures OPS-22. */
export function observeDatabase(observed: Observed): DatabaseObservation {
  const { path, status, txid, database, upkeep } = observed;
  if (database === undefined) return closed(path, status, txid);
  const facts = database.facts();
  const replicas = database.replicas.map((replica, at) => ({
    ...observeReplica(database, replica, facts.txid),
    upkeep: upkeep?.[at],
  }));
  const lastSyncs = replicas.map(({ lastSyncAt }) => lastSyncAt ?? NaN);
  const lastSyncAt = Math.min(...lastSyncs);
  return {
    path,
    status,
    txid: facts.txid,
    replicatedTxid: commonTxid(replicas),
    lastSyncAt: Number.isNaN(lastSyncAt) ? undefined : lastSyncAt,
    monitorIntervalMs: Math.max(0, database.options.monitorIntervalMs),
    openMs: facts.openMs,
    uncapturedMs: facts.uncapturedMs,
    aheadMs: Math.max(facts.uncapturedMs, ...replicas.map(({ behindMs }) => behindMs)),
    pendingFiles: Math.max(...replicas.map(({ pendingFiles }) => pendingFiles)),
    consecutiveErrors: facts.consecutiveErrors,
    error: facts.error,
    activity: facts.activity,
    replicas,
  };
}

function closed(path: string, status: DatabaseStatus, txid: Txid): DatabaseObservation {
  return {
    path,
    status,
    txid,
    replicatedTxid: NO_TXID,
    lastSyncAt: undefined,
    monitorIntervalMs: 0,
    openMs: 0,
    uncapturedMs: 0,
    aheadMs: 0,
    pendingFiles: 0,
    consecutiveErrors: 0,
    error: undefined,
    activity: undefined,
    replicas: [],
  };
}

function observeReplica(database: Database, replica: Replica, newest: Txid): ReplicaObservation {
  const { client, lastSyncAt, options, position } = replica;
  const { consecutiveErrors, error } = replica.failure;
  return {
    name: options.name ?? client.type,
    type: client.type,
    location: client.location,
    syncIntervalMs: options.syncIntervalMs,
    txid: position,
    lastSyncAt,
    behindMs: database.behindMs(replica),
    pendingFiles: Math.max(0, Number(newest - (position ?? NO_TXID))),
    consecutiveErrors,
    error,
    hasConflict: replica.hasConflict,
    damage: database.damage.get(replica),
  };
}

/** The TXID that all replicas have. */
function commonTxid(replicas: readonly ReplicaObservation[]): Txid {
  let common: Txid | undefined;
  for (const { txid = NO_TXID } of replicas) {
    if (common === undefined || txid < common) common = txid;
  }
  return common ?? NO_TXID;
}
