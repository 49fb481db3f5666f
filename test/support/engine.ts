import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { tmpdir } from 'node:os';
import { DatabaseSync } from 'node:sqlite';
import type { TestContext } from 'node:test';
import { LocalFiles, ownershipOf } from '../../src/engine/db/local-files.ts';
import type { DatabaseOptions, Ports, ReplicaOptions } from '../../src/engine/index.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { nodeFileSystem, type FileSystem } from '../../src/lib/file-system.ts';
import { CheckpointWorker, LiveDatabase } from '../../src/sqlite/index.ts';
import type { ReplicaClient } from '../../src/storage/index.ts';
import {
  noopMetrics,
  type LogAttributes,
  type Logger,
  type LogLevel,
} from '../../src/telemetry/index.ts';
import { checkRecord } from './secrets.ts';

/** One line of a {@link RecordingLogger}. */
export interface LogRecord {
  readonly level: LogLevel;
  readonly message: string;
  readonly attributes: LogAttributes;
}

/** Keeps what is logged. */
export class RecordingLogger implements Logger {
  readonly records: LogRecord[];
  readonly #attributes: LogAttributes;

  constructor(records: LogRecord[] = [], attributes: LogAttributes = {}) {
    this.records = records;
    this.#attributes = attributes;
  }

  log(level: LogLevel, message: string, attributes: LogAttributes = {}): void {
    checkRecord(message, attributes);
    this.records.push({ level, message, attributes: { ...this.#attributes, ...attributes } });
  }

  enabled(): boolean {
    return true;
  }

  with(attributes: LogAttributes): Logger {
    return new RecordingLogger(this.records, { ...this.#attributes, ...attributes });
  }

  /** The messages of the levels warn and error, or of those given. */
  messages(...levels: LogLevel[]): string[] {
    const wanted: readonly LogLevel[] = levels.length > 0 ? levels : ['warn', 'error'];
    return this.records.filter(({ level }) => wanted.includes(level)).map(({ message }) => message);
  }
}

/** The pages of a database as SQLite sees them, those in the WAL included. Nobody may write meanwhile. */
export function pagesOf(path: string, pageSize = 4096): Uint8Array[] {
  const folder = mkdtempSync(join(tmpdir(), 'litestream-pages-'));
  try {
    const copy = join(folder, 'copy.db');
    copyFileSync(path, copy);
    if (existsSync(`${path}-wal`)) copyFileSync(`${path}-wal`, `${copy}-wal`);
    const db = new DatabaseSync(copy);
    db.exec('PRAGMA wal_checkpoint(TRUNCATE)');
    db.close();
    const bytes = readFileSync(copy);
    return Array.from({ length: bytes.length / pageSize }, (_, at) =>
      bytes.subarray(at * pageSize, (at + 1) * pageSize),
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Opens a database as the engine does; it is closed with the test. */
export function openLive(t: TestContext, path: string): LiveDatabase {
  const worker = new CheckpointWorker(systemClock);
  // The test has connections of its own to the database: their locks must outlive our descriptors.
  const live = LiveDatabase.open({ path, worker, descriptorSink: () => undefined });
  if (live === undefined) throw new Error(`${path} is locked`);
  t.after(async () => {
    await live.close();
    await worker.close();
  });
  return live;
}

/** The local files of a database, ready to be written. */
export async function localFiles(
  path: string,
  fileSystem: FileSystem = nodeFileSystem,
): Promise<LocalFiles> {
  const files = new LocalFiles(`${path}-meta`, fileSystem);
  files.setOwnership(await ownershipOf(nodeFileSystem, path));
  return files;
}

/** Ports with real time and files, and a logger that remembers. */
export function testPorts(overrides: Partial<Ports> = {}): Ports & { logger: RecordingLogger } {
  const logger = new RecordingLogger();
  return {
    clock: systemClock,
    fileSystem: nodeFileSystem,
    metrics: noopMetrics,
    random: () => 0.5,
    descriptorSink: () => undefined,
    ...overrides,
    logger,
  };
}

export function replicaOptions(
  client: ReplicaClient,
  overrides: Partial<ReplicaOptions> = {},
): ReplicaOptions {
  return {
    client,
    syncIntervalMs: 1000,
    syncIntervalExplicit: false,
    maxSyncLtxFiles: 0,
    autoRecover: false,
    ...overrides,
  };
}

/** Options of a database that only does what it is told: no monitor, no checkpoint by itself. */
export function databaseOptions(
  path: string,
  clients: readonly ReplicaClient[],
  overrides: Partial<DatabaseOptions> = {},
): DatabaseOptions {
  return {
    path,
    metaPath: `${path}-meta`,
    monitorIntervalMs: 0,
    monitorIntervalExplicit: false,
    checkpointIntervalMs: 0,
    busyTimeoutMs: 50,
    minCheckpointPages: 1_000_000,
    truncatePages: -1,
    maxSyncWalBytes: 0,
    replicas: clients.map((client) => replicaOptions(client)),
    ...overrides,
  };
}
