import { basename } from 'node:path';
import { type Clock, isAborted, sleep } from '../../lib/clock.ts';
import { isLitestreamError } from '../../lib/errors.ts';
import { lockPgno } from '../../lib/page.ts';
import { identify } from '../../sqlite/index.ts';
import { DurationValue, type Logger } from '../../telemetry/index.ts';
import {
  contiguityIssues,
  type ContiguityIssue,
  type Finding,
  readRecords,
  recordOf,
  type SourcePages,
  type VerifyRecord,
  verifyReplica,
  type VerifyReport,
  type VerifySource,
  writeRecord,
} from '../../verify/index.ts';
import type { Database } from '../db/database.ts';
import type { Ports, StoreOptions } from '../options.ts';
import type { ReplicaMaintenance } from './maintenance.ts';
import { listLevel, SNAPSHOT_LEVEL } from './replica-view.ts';

/** A replica is verified for the first time this long after it became ready, at most. */
const FIRST_MS_MAX = 60_000;
/** After a verification that could not be carried out, and at least after one that found damage. */
const RETRY_MS = 600_000;
/** A damaged replica is verified again after so many times as long as it takes. */
const DAMAGED_PAUSES = 10;
/** How often new replicas are looked for, and what others noted of damaged ones; less often if there is none to verify. */
const LOOK_MS = 1000;
const LOOK_MS_IDLE = 10_000;
/** Uploads and the application come first. */
const BYTES_PER_SECOND = 32 * 1024 * 1024;
/** What a test restore leaves free on the disk, beside as much as the database takes. */
const RESERVE_BYTES = 256 * 1024 * 1024;
/** Findings that get a line of their own. */
const LINES_MAX = 10;
/** What a listing shows to be missing may be on its way. */
const CONFIRM_MS = 2000;

export interface VerificationInit {
  readonly options: StoreOptions;
  readonly ports: Ports;
  /** With the store's attributes. */
  readonly logger: Logger;
  /** All replicas of all databases at the time of the call. */
  readonly replicas: () => readonly ReplicaMaintenance[];
  readonly signal: AbortSignal;
}

/** Runs what is configured of scheduled verification until the signal fires. Spec: replication 19, design B3. */
export async function runVerification(init: VerificationInit): Promise<void> {
  const loops = [new VerificationSchedule(init).run()];
  if ((init.options.validationIntervalMs ?? 0) > 0) loops.push(runContiguity(init));
  await Promise.all(loops);
}

function nameOf({ replica }: Pick<ReplicaMaintenance, 'replica'>): string {
  return replica.options.name ?? replica.client.type;
}

function loggerFor({ logger }: VerificationInit, maintenance: ReplicaMaintenance): Logger {
  const { database } = maintenance;
  return logger.with({ db: basename(database.options.path), replica: nameOf(maintenance) });
}

/** `validation.interval`: are the TXIDs of each level contiguous? As in the reference, from listings alone. */
async function runContiguity(init: VerificationInit): Promise<void> {
  const { options, ports, logger, signal } = init;
  const intervalMs = options.validationIntervalMs ?? 0;
  logger.log('info', 'starting validation monitor', { interval: new DurationValue(intervalMs) });
  while (!signal.aborted) {
    await pause(ports.clock, intervalMs, signal);
    for (const maintenance of init.replicas()) {
      if (isAborted(signal)) return;
      if (maintenance.isReady) await checkContiguity(init, maintenance);
    }
  }
}

async function checkContiguity(
  init: VerificationInit,
  maintenance: ReplicaMaintenance,
): Promise<void> {
  const { ports } = init;
  const logger = loggerFor(init, maintenance);
  const signal = AbortSignal.any([init.signal, maintenance.stopSignal]);
  const { client } = maintenance.replica;
  try {
    for (let level = 0; level < SNAPSHOT_LEVEL; level++) {
      const list = async (): Promise<ContiguityIssue[]> =>
        contiguityIssues(level, await listLevel(client, level, signal));
      let issues = await list();
      if (issues.length === 0) continue;
      await sleep(ports.clock, CONFIRM_MS, signal);
      const again = new Set((await list()).map(({ message }) => message));
      issues = issues.filter(({ message }) => again.has(message));
      for (const { message, type } of issues.slice(0, LINES_MAX)) {
        logger.log('warn', 'validation error detected', { level, type, message });
      }
    }
  } catch (error) {
    if (isAborted(signal) || !(error instanceof Error)) return;
    logger.log('error', 'validation check failed', { error });
  }
}

/** Verifies the replicas that have a `validation-interval`, one at a time over the whole store. */
class VerificationSchedule {
  readonly #init: VerificationInit;
  /** Monotonic milliseconds at which each replica is due. */
  readonly #due = new Map<ReplicaMaintenance, number>();

  constructor(init: VerificationInit) {
    this.#init = init;
  }

  async run(): Promise<void> {
    const { ports, signal } = this.#init;
    while (!signal.aborted) {
      const next = await this.#next();
      const now = ports.clock.monotonic();
      if (next === undefined || next.due > now) {
        const look = this.#isNeeded() ? LOOK_MS : LOOK_MS_IDLE;
        await pause(ports.clock, Math.min(look, (next?.due ?? Infinity) - now), signal);
        continue;
      }
      const waitMs = await this.#verify(next.maintenance);
      this.#due.set(next.maintenance, ports.clock.monotonic() + waitMs);
    }
  }

  #isNeeded(): boolean {
    const all = this.#init.replicas();
    return all.some(({ replica }) => (replica.options.validationIntervalMs ?? 0) > 0);
  }

  /** The replica that is due first. */
  async #next(): Promise<{ maintenance: ReplicaMaintenance; due: number } | undefined> {
    const all = this.#init.replicas();
    for (const known of this.#due.keys()) if (!all.includes(known)) this.#due.delete(known);
    let first: { maintenance: ReplicaMaintenance; due: number } | undefined;
    for (const maintenance of all) {
      const intervalMs = maintenance.replica.options.validationIntervalMs ?? 0;
      if (intervalMs <= 0 || !maintenance.isReady || maintenance.isClosed) continue;
      const due = this.#due.get(maintenance) ?? (await this.#firstDue(maintenance, intervalMs));
      await this.#lookAgain(maintenance);
      this.#due.set(maintenance, due);
      if (first === undefined || due < first.due) first = { maintenance, due };
    }
    return first;
  }

  /** Restarts do not verify again what was verified a while ago. */
  async #firstDue(maintenance: ReplicaMaintenance, intervalMs: number): Promise<number> {
    const { clock } = this.#init.ports;
    const last = await this.#lastOf(maintenance);
    if (last?.result === 'damage') {
      const { database, replica } = maintenance;
      database.damage.set(replica, last.message);
      loggerFor(this.#init, maintenance).log('error', 'replica was found to be damaged', {
        reason: last.message,
      });
    }
    const soon = Math.min(intervalMs, FIRST_MS_MAX);
    const since = last === undefined ? Infinity : Math.max(0, clock.now() - last.at);
    if (last?.result === 'damage') return clock.monotonic() + soon;
    return clock.monotonic() + Math.max(soon, intervalMs - since);
  }

  async #lastOf({ database, replica }: ReplicaMaintenance): Promise<VerifyRecord | undefined> {
    const name = nameOf({ replica });
    const records = await readRecords(this.#init.ports.fileSystem, database.options.metaPath);
    return records.find((record) => record.replica === name);
  }

  /** Somebody may have repaired a damaged replica, and verified it. */
  async #lookAgain(maintenance: ReplicaMaintenance): Promise<void> {
    const { database, replica } = maintenance;
    if (!database.damage.has(replica)) return;
    const last = await this.#lastOf(maintenance);
    if (last?.result === 'ok') this.#healed(maintenance);
  }

  #healed(maintenance: ReplicaMaintenance): void {
    const { database, replica } = maintenance;
    if (!database.damage.delete(replica)) return;
    loggerFor(this.#init, maintenance).log('info', 'replica is no longer damaged');
  }

  /** Returns after how long the next is due. */
  async #verify(maintenance: ReplicaMaintenance): Promise<number> {
    const { clock, fileSystem, metrics } = this.#init.ports;
    const { database, replica } = maintenance;
    const { metaPath, path } = database.options;
    const intervalMs = replica.options.validationIntervalMs ?? 0;
    const logger = loggerFor(this.#init, maintenance);
    const labels = { db: path, replica: nameOf(maintenance) };
    const signal = AbortSignal.any([this.#init.signal, maintenance.stopSignal]);
    try {
      const report = await verifyReplica({
        client: replica.client,
        depth: 'standard',
        source: engineSource(maintenance),
        tempParent: metaPath,
        reserveBytes: RESERVE_BYTES + (identify(path)?.size ?? 0),
        bytesPerSecond: BYTES_PER_SECOND,
        fileSystem,
        clock,
        signal,
      });
      this.#note(report, logger, labels);
      const record = recordOf(labels.replica, report);
      await writeRecord(fileSystem, metaPath, record);
      if (report.ok) {
        this.#healed(maintenance);
        return intervalMs;
      }
      database.damage.set(replica, record.message);
      return Math.min(intervalMs, Math.max(RETRY_MS, DAMAGED_PAUSES * report.durationMs));
    } catch (error) {
      if (isAborted(signal)) return intervalMs;
      if (!isLitestreamError(error)) throw error;
      metrics.add('litestream_verify_count', { ...labels, result: 'error' }, 1);
      logger.log('error', 'replica could not be verified', { error });
      return Math.min(intervalMs, RETRY_MS);
    }
  }

  #note(
    report: VerifyReport,
    logger: Logger,
    labels: { readonly db: string; readonly replica: string },
  ): void {
    const { metrics } = this.#init.ports;
    const { checks, durationMs, filesRead, findings, ok, startedAt, verifiedTxid } = report;
    const damages = findings.filter(({ severity }) => severity === 'damage');
    const result = ok ? 'ok' : 'damage';
    metrics.add('litestream_verify_count', { ...labels, result }, 1);
    metrics.add('litestream_verify_seconds', labels, durationMs / 1000);
    metrics.set('litestream_verify_damage', labels, damages.length);
    if (ok) metrics.set('litestream_last_verified_timestamp', labels, startedAt / 1000);
    for (const finding of findings.slice(0, LINES_MAX)) logFinding(logger, finding);
    if (!ok) return;
    const restored = checks.find(({ name }) => name === 'restore');
    logger.log(restored?.status === 'skipped' ? 'warn' : 'info', 'replica verified', {
      txid: verifiedTxid,
      files: filesRead,
      duration: new DurationValue(Math.round(durationMs)),
      source: checks.find(({ name }) => name === 'source')?.status,
      ...(restored?.status === 'skipped' ? { 'restore-skipped': restored.detail } : {}),
    });
  }
}

function logFinding(logger: Logger, { affected, message, remedy, severity }: Finding): void {
  const damage = severity === 'damage';
  logger.log(damage ? 'error' : 'warn', damage ? 'replica is damaged' : 'replica is odd', {
    reason: message,
    ...(affected === undefined ? {} : { affected: { from: affected.from, to: affected.to } }),
    remedy,
  });
}

/** The live database, pinned between two transactions. Nothing waits for it but checkpoints, while its pages are read. */
function engineSource({ database, replica }: ReplicaMaintenance): VerifySource {
  const { path } = database.options;
  return {
    path,
    async pin(signal) {
      const view = await database.view(signal);
      if (view === undefined) return `there is no database at ${path}`;
      const { pageSize, transaction, txid } = view;
      const lock = lockPgno(pageSize);
      const pages: SourcePages = {
        txid,
        pageSize,
        commit: transaction.commit,
        read(first, count, target) {
          for (let page = 0; page < count; page++) {
            if (first + page === lock) continue;
            const at = page * pageSize;
            transaction.read(first + page, target.subarray(at, at + pageSize));
          }
        },
        release: () => view.release(),
        arrived: (stop) => untilReplicated(database, replica, txid, stop),
      };
      return pages;
    },
  };
}

async function untilReplicated(
  database: Database,
  replica: ReplicaMaintenance['replica'],
  txid: Database['txid'],
  signal: AbortSignal | undefined,
): Promise<void> {
  if ((replica.position ?? 0n) < txid) await database.syncReplica(replica, txid, signal);
}

async function pause(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(clock, ms, signal);
  } catch {
    // Stopped: the loop sees the signal.
  }
}
