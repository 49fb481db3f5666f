import { basename } from 'node:path';
import {
  createReplicaClient,
  createStore,
  resolveDatabases,
  sharedLocations,
} from '../../app/index.ts';
import { type DatabaseConfig, resolveDatabase, type ResolvedDatabase } from '../../config/index.ts';
import type { Store } from '../../engine/index.ts';
import { throwIfAborted } from '../../lib/clock.ts';
import { isLitestreamError, LitestreamError, wrapError } from '../../lib/errors.ts';
import { parseListenAddress } from '../../lib/listen-address.ts';
import type { ReplicaLocation } from '../../storage/index.ts';
import { DurationValue, type LogAttributes, type Logger } from '../../telemetry/index.ts';
import { type Io, usageError } from '../command.ts';
import { logConfigWarnings } from '../logging.ts';
import { warnOfNetworkFileSystems } from './network-warning.ts';
import type { Observability } from './observability.ts';
import type { ReplicateRequest } from './request.ts';
import { Services } from './services.ts';

/** What start-up works with. */
export interface StartContext {
  readonly request: ReplicateRequest;
  readonly io: Io;
  readonly logger: Logger;
  /** Fires on a signal. */
  readonly signal: AbortSignal;
  /** Called as soon as there is something to close. */
  readonly opened: (opened: Opened) => void;
  readonly observability: Observability;
}

/** What is open, and has to be closed: first the services, then the store. */
export interface Opened {
  readonly store: Store;
  readonly services: Services;
}

const RETENTION_HINT =
  'idle databases that stop receiving writes will not generate new snapshots and may lose backup coverage if cloud retention expires';

/** The attributes by which `replicating to` names a location. Spec: cli 19.6. */
function locationAttributes(location: ReplicaLocation): LogAttributes {
  switch (location.type) {
    case 'file':
      return { path: location.path };
    case 's3': {
      const { bucket, path, region, endpoint } = location;
      return { bucket, path, region, endpoint };
    }
    case 'gs':
      return { bucket: location.bucket, path: location.path };
    case 'abs':
      return { bucket: location.bucket, path: location.path, endpoint: location.endpoint };
    case 'sftp':
      return { host: location.host, user: location.user, path: location.path };
    case 'nats':
      return { bucket: location.bucket, url: location.url };
    case 'oss':
      return { bucket: location.bucket, path: location.path, region: location.region };
    case 'webdav':
      return {};
  }
}

/** `restore-if-db-not-exists` for one database. Spec: cli 5.2 step 4. */
async function restoreMissing(database: DatabaseConfig, context: StartContext): Promise<void> {
  const { io, logger, signal } = context;
  const { clock, fileSystem } = io;
  const { path } = database;
  let exists = true;
  try {
    exists = (await fileSystem.stat('replicate:stat', path)) !== undefined;
  } catch {
    // What cannot be looked at is not written over.
  }
  if (exists) {
    logger.log('info', 'database exists, skipping restore', { path });
    return;
  }
  if (database.replica === undefined && database.replicas.length === 0) {
    throw new LitestreamError('ERR_CONFIG', `no replica configured for database: ${path}`);
  }
  logger.log('info', 'attempting restore before replication', { path });
  const client = await restoreClient(database, context);
  const { restoreDatabase } = await import('../../restore/index.ts');
  try {
    const replicaLogger = logger.with({ db: basename(path), replica: client.type });
    await restoreDatabase({
      client,
      outputPath: path,
      target: {},
      fileSystem,
      clock,
      logger: replicaLogger,
      signal,
    });
    logger.log('info', 'restore completed', { path });
  } catch (error) {
    if (!isLitestreamError(error, 'ERR_TX_NOT_AVAILABLE')) throw wrapError('restore failed', error);
    logger.log('info', 'no backup found, starting fresh', { path });
  } finally {
    await client.close();
  }
}

async function restoreClient(
  database: DatabaseConfig,
  { io, logger }: StartContext,
): ReturnType<typeof createReplicaClient> {
  const { clock, environment, fileSystem } = io;
  try {
    const [replica] = resolveDatabase(database).replicas;
    if (replica === undefined) throw new LitestreamError('ERR_CONFIG', 'database has no replica');
    return await createReplicaClient(replica.location, { clock, environment, fileSystem, logger });
  } catch (error) {
    throw wrapError('cannot create replica for restore', error);
  }
}

/** A folder never becomes a database; everything else may, and is waited for. */
async function refuseFolders(
  databases: readonly ResolvedDatabase[],
  { io }: StartContext,
): Promise<void> {
  for (const { path } of databases) {
    let stat;
    try {
      stat = await io.fileSystem.stat('replicate:stat', path);
    } catch {
      // The engine says what is wrong, and tries again.
    }
    if (stat?.kind === 'directory') {
      const text = `database path is a directory: ${path}. Give the path of the database file, or use 'dir' in the configuration`;
      throw new LitestreamError('ERR_DB_INVALID', text, { details: { path } });
    }
  }
}

async function openStore(
  databases: readonly ResolvedDatabase[],
  context: StartContext,
): Promise<Opened> {
  const { request, io, logger, observability, signal } = context;
  const { metrics } = observability;
  const { clock, environment, fileSystem } = io;
  throwIfAborted(signal);
  const random = (): number => Math.random();
  const ports = { clock, environment, fileSystem, logger, metrics, random };
  const store = await createStore(request.config, databases, ports, { monitors: !request.once });
  try {
    await store.open();
  } catch (error) {
    throw wrapError('cannot open store', error);
  }
  const services = new Services({ config: request.config, io, ports });
  const opened = { store, services };
  context.opened(opened);
  return opened;
}

/** Spec: config 11.3. */
function logOwnSnapshotSettings({ path, replicas }: ResolvedDatabase, logger: Logger): void {
  for (const { name, retentionMs, snapshotIntervalMs } of replicas) {
    const own = [
      ['retention', retentionMs],
      ['snapshot-interval', snapshotIntervalMs],
    ] as const;
    for (const [key, ms] of own) {
      if (ms === undefined) continue;
      const value = new DurationValue(ms);
      const attributes = { db: basename(path), replica: name, key, value };
      logger.log('info', 'replica has its own snapshot setting', attributes);
    }
  }
}

function logDatabases(databases: readonly ResolvedDatabase[], logger: Logger): void {
  for (const database of databases) {
    const { path, replicas } = database;
    logger.log('info', 'initialized db', { path });
    for (const { location, syncIntervalMs } of replicas) {
      logger.log('info', 'replicating to', {
        type: location.type,
        'sync-interval': new DurationValue(syncIntervalMs),
        ...locationAttributes(location),
      });
    }
    logOwnSnapshotSettings(database, logger);
  }
}

function checkAddress(address: string): void {
  if (address === '' || parseListenAddress(address) !== undefined) return;
  throw usageError(`must specify port for bind address: "${address}"`);
}

function warnAbout(databases: readonly ResolvedDatabase[], { logger }: StartContext): void {
  for (const { path, other } of sharedLocations(databases)) {
    logger.log('warn', 'databases share a replica location', { path, other });
  }
}

/**
 * Brings everything up, in the reference's order; the child process is not part of it.
 *
 * @throws LitestreamError what stops the start; what was opened by then is the caller's to close.
 *
 * Spec: cli 5.2.
 */
export async function start(context: StartContext): Promise<Store> {
  const { request, logger, signal } = context;
  const { config } = request;
  const { requireSafeSqlite } = await import('../../sqlite/index.ts');
  requireSafeSqlite();
  logConfigWarnings(logger, request.warnings);
  if (config.databases.length === 0) {
    logger.log('error', 'no databases specified in configuration');
  }
  for (const database of config.databases) {
    const wanted = database.restoreIfMissing || request.restoreIfMissing;
    if (wanted && database.path !== '') await restoreMissing(database, context);
    throwIfAborted(signal);
  }
  const { databases, directories, shadowed, watched } = await resolveDatabases(config.databases);
  for (const { dir, count, watch } of directories) {
    logger.log('info', 'found databases in directory', { dir, count, watch });
  }
  for (const { path, dir, listed } of shadowed) {
    logger.log('warn', 'database has an entry of its own, its directory entry is ignored', {
      path,
      dir,
      entry: listed,
    });
  }
  warnAbout(databases, context);
  await refuseFolders(databases, context);
  await warnOfNetworkFileSystems(databases, logger);
  const { services, store } = await openStore(databases, context);
  if (!config.retentionEnabled) {
    const message = 'retention disabled; cloud provider lifecycle policies must handle retention';
    logger.log('warn', message, { hint: RETENTION_HINT });
  }
  await services.startControl(store);
  await services.watch(store, watched);
  logDatabases(databases, logger);
  checkAddress(config.addr);
  await context.observability.watch(store);
  return store;
}
