import { isReplicaUrl } from '../../config/index.ts';
import { formatFileName, formatTxid, toTxid, type Txid } from '../../formats/ltx/index.ts';
import { isLitestreamError, LitestreamError } from '../../lib/errors.ts';
import {
  checkOutputPath,
  followReplica,
  isEmptyReplica,
  planRestore,
  ReplicaCatalog,
  restoreDatabase,
  type RestorePlan,
  timeBounds,
} from '../../restore/index.ts';
import type { ReplicaClient } from '../../storage/index.ts';
import type { Logger } from '../../telemetry/index.ts';
import {
  type Command,
  configFlags,
  defineCommand,
  type Io,
  limitPositionals,
  usageError,
} from '../command.ts';
import {
  BadFlagValue,
  boolFlag,
  durationFlag,
  type Flag,
  type FlagValues,
  intFlag,
  type ParsedFlags,
  stringFlag,
} from '../flags.ts';
import { commandLogger } from '../logging.ts';
import { formatJson, formatTime, parseTimestamp } from '../output/format.ts';
import { hintAtOwner } from '../output/owner-hint.ts';
import { progressDisplay } from '../output/progress.ts';
import { formatTable } from '../output/table.ts';
import { fetchText, recoveryText, recoveryWindow } from '../recovery-window.ts';
import { SignalQueue } from '../signals.ts';
import { replicaLogger, selectedClient, type Selection, selectReplica } from '../select-replica.ts';

const txidFlag: Flag<Txid | undefined> = {
  value: undefined,
  alone: false,
  placeholder: 'TXID',
  help: 'restore up to this transaction, 1 to 16 hexadecimal digits (default: the last)',
  parse(text) {
    if (!/^[0-9a-fA-F]{1,16}$/.test(text)) throw new BadFlagValue('invalid txid format');
    const txid = BigInt(`0x${text}`);
    return txid === 0n ? undefined : toTxid(txid);
  },
};

const flags = {
  ...configFlags,
  o: stringFlag('PATH', 'output path (default: the database path; required with a replica URL)'),
  txid: txidFlag,
  timestamp: stringFlag('TIME', 'restore to this point in time (RFC 3339)'),
  parallelism: intFlag('N', 'number of files fetched at a time', 8),
  'if-db-not-exists': boolFlag('do nothing, and succeed, if the output exists'),
  'if-replica-exists': boolFlag('do nothing, and succeed, if there is no backup'),
  'dry-run': boolFlag('print what would be fetched, write nothing'),
  'around-damage': boolFlag('do without damaged files if the others give the same state'),
  force: boolFlag('replace an existing output'),
  overwrite: boolFlag('the same as -force'),
  json: boolFlag('print a JSON summary'),
  f: boolFlag('follow: keep the output up to date'),
  'follow-interval': durationFlag('with -f: time between looks at the replica', 1000),
  'integrity-check': stringFlag(
    'MODE',
    'check afterwards: none, quick or full (default none)',
    'none',
  ),
  replica: stringFlag('NAME', 'replica of the database (default: its first)'),
};

type Values = FlagValues<typeof flags>;
type IntegrityCheck = 'none' | 'quick' | 'full';

const NO_BACKUP = 'no matching backup files available';

/** One restore on its way. */
interface Job {
  readonly argument: string;
  readonly values: Values;
  readonly io: Io;
  readonly selection: Selection;
  readonly logger: Logger;
  /** For lines about the command as a whole. */
  readonly rootLogger: Logger;
  readonly client: ReplicaClient;
  /** The replica is listed once for all that the command looks for in it. */
  readonly catalog: ReplicaCatalog;
  /** As typed; empty if there is none. */
  readonly outputPath: string;
  readonly integrityCheck: IntegrityCheck;
  readonly timestampMs: number | undefined;
}

function readIntegrityCheck(mode: string): IntegrityCheck {
  if (mode === 'none' || mode === 'quick' || mode === 'full') return mode;
  throw usageError(`invalid -integrity-check value: ${mode}`);
}

function readTimestamp(text: string): number | undefined {
  if (text === '') return undefined;
  const ms = parseTimestamp(text);
  if (ms !== undefined) return ms;
  throw usageError(
    'invalid -timestamp, must specify in ISO 8601 format (e.g. 2000-01-01T00:00:00Z)',
  );
}

function readArgument({ positionals }: ParsedFlags<typeof flags>): string {
  const [argument = ''] = positionals;
  if (argument === '') {
    throw usageError(
      'database path or replica URL required',
      'litestream restore -o /path/to/db s3://bucket/prefix',
    );
  }
  limitPositionals(positionals, 1);
  return argument;
}

function requireOutput(argument: string, values: Values): void {
  if (!isReplicaUrl(argument) || values.config !== '' || values.o !== '') return;
  throw usageError(
    '-o is required when restoring from a replica URL',
    `litestream restore -o /path/to/db ${argument}`,
  );
}

function checkFollow(values: Values): void {
  if (!values.f) return;
  if (values['dry-run']) throw usageError('cannot use -dry-run with -f');
  if (values.txid !== undefined) throw usageError('cannot use follow mode with -txid');
  if (values.timestamp !== '') throw usageError('cannot use follow mode with -timestamp');
}

/** With a URL, a time outside the replica's history is an error of its own. */
async function checkTimeBounds({ catalog, timestampMs, selection }: Job): Promise<void> {
  if (timestampMs === undefined || selection.databasePath !== undefined) return;
  const bounds = await timeBounds(catalog, timestampMs);
  if (bounds === undefined) throw new LitestreamError('ERR_TX_NOT_AVAILABLE', 'no backups found');
  if (timestampMs < bounds.oldestMs || timestampMs > bounds.newestMs) {
    throw new LitestreamError('ERR_TX_NOT_AVAILABLE', 'timestamp does not exist', {
      details: { ...bounds },
      ...boundsHint({ ...bounds }),
    });
  }
}

/** To the millisecond: whoever takes one of them for `-timestamp` must not miss it. Spec: failures RST-19. */
function boundsHint({ oldestMs, newestMs }: Readonly<Record<string, unknown>>): { hint?: string } {
  if (typeof oldestMs !== 'number' || typeof newestMs !== 'number') return {};
  const [oldest, newest] = [oldestMs, newestMs].map((ms) => new Date(ms).toISOString());
  return { hint: `the oldest file of the replica is of ${oldest}, the newest of ${newest}` };
}

function target({ values, timestampMs }: Job): { txid?: Txid; timestampMs?: number } {
  if (values.txid !== undefined) return { txid: values.txid };
  return timestampMs === undefined ? {} : { timestampMs };
}

function noBackup(cause: LitestreamError): LitestreamError {
  const hint = boundsHint(cause.details);
  return new LitestreamError('ERR_TX_NOT_AVAILABLE', NO_BACKUP, { cause, ...hint });
}

async function plan(job: Job): Promise<RestorePlan> {
  try {
    return await planRestore(job.client, target(job), { catalog: job.catalog });
  } catch (error) {
    throw isLitestreamError(error, 'ERR_TX_NOT_AVAILABLE') ? noBackup(error) : error;
  }
}

function planText(job: Job, { files, minTxid, maxTxid }: RestorePlan): string {
  const rows = files.map((file) => [
    String(file.level),
    formatFileName(file.minTxid, file.maxTxid),
    formatTxid(file.minTxid),
    formatTxid(file.maxTxid),
    String(file.size),
    formatTime(file.createdAt),
  ]);
  return `Restore plan:
  source: ${job.argument}
  target: ${job.outputPath}
  replica: ${job.client.type}
  txid range: ${formatTxid(minTxid)} - ${formatTxid(maxTxid)}

Files to fetch:
${formatTable(['level', 'file', 'min_txid', 'max_txid', 'size', 'timestamp'], rows)}`;
}

function planJson(job: Job, { files, minTxid, maxTxid }: RestorePlan): string {
  return formatJson({
    source: job.argument,
    target_path: job.outputPath,
    replica: job.client.type,
    min_txid: formatTxid(minTxid),
    max_txid: formatTxid(maxTxid),
    files: files.map((file) => ({
      level: file.level,
      name: formatFileName(file.minTxid, file.maxTxid),
      min_txid: formatTxid(file.minTxid),
      max_txid: formatTxid(file.maxTxid),
      size: file.size,
      timestamp: formatTime(file.createdAt),
    })),
  });
}

/** The plan on standard output is what scripts read; what it costs and what else there is goes to standard error. */
async function dryRun(job: Job): Promise<void> {
  const { catalog, client, io, values } = job;
  const found = await plan(job);
  io.stdout.write(values.json ? planJson(job, found) : planText(job, found));
  if (values.json) return;
  const window = recoveryWindow((await catalog.levels()).flat());
  const text = await fetchText(found.files, client, io.clock);
  io.stderr.write(`\n${text}${window === undefined ? '' : recoveryText(window)}`);
}

/** True if there is nothing to restore and that was said to be fine. */
async function mayBeSkipped(job: Job, error: unknown): Promise<boolean> {
  if (!job.values['if-replica-exists'] || !isLitestreamError(error, 'ERR_TX_NOT_AVAILABLE'))
    return false;
  return isEmptyReplica(job.client, { catalog: job.catalog });
}

async function skipOrThrow(job: Job, error: unknown): Promise<void> {
  if (await mayBeSkipped(job, error)) job.rootLogger.log('info', 'no matching backups found');
  else throw isLitestreamError(error, 'ERR_TX_NOT_AVAILABLE') ? noBackup(error) : error;
}

function summary({ client, outputPath, integrityCheck }: Job, txid: string, ms: number): string {
  return formatJson({
    db_path: outputPath,
    replica: client.type,
    txid,
    duration_ms: Math.round(ms),
    integrity_check: integrityCheck,
  });
}

async function restore(job: Job): Promise<void> {
  const { values, io, client, outputPath, logger, integrityCheck } = job;
  const { fileSystem, clock } = io;
  const force = values.force || values.overwrite;
  await checkOutputPath(fileSystem, outputPath, force);
  if (values.txid !== undefined && job.timestampMs !== undefined) {
    throw usageError('cannot specify index & timestamp to restore');
  }
  const started = clock.monotonic();
  const progress = progressDisplay(io.stderr, clock, logger);
  try {
    const result = await restoreDatabase({
      client,
      catalog: job.catalog,
      outputPath,
      target: target(job),
      fileSystem,
      clock,
      logger,
      force,
      parallelism: Math.max(1, values.parallelism),
      integrityCheck,
      aroundDamage: values['around-damage'],
      onProgress: progress.update,
    });
    progress.clear();
    await hintAtOwner(fileSystem, outputPath, logger);
    if (!values.json) return;
    const txid = result.legacy === undefined ? formatTxid(result.plan.maxTxid) : '';
    io.stdout.write(summary(job, txid, clock.monotonic() - started));
  } catch (error) {
    progress.clear();
    await skipOrThrow(job, error);
  }
}

/** Restores and follows until SIGINT or SIGTERM. Spec: cli 6.5. */
async function follow(job: Job): Promise<void> {
  const { values, io, client, outputPath, logger, integrityCheck } = job;
  const { fileSystem, clock } = io;
  const started = clock.monotonic();
  const progress = progressDisplay(io.stderr, clock, logger);
  using signals = new SignalQueue();
  const stop = new AbortController();
  signals.handle(() => stop.abort());
  try {
    await followReplica({
      client,
      outputPath,
      fileSystem,
      clock,
      logger,
      signal: stop.signal,
      intervalMs: values['follow-interval'],
      parallelism: Math.max(1, values.parallelism),
      integrityCheck,
      onProgress: progress.update,
      onRestored: progress.clear,
    });
  } catch (error) {
    progress.clear();
    await skipOrThrow(job, error);
    return;
  }
  // Which transaction the output holds is in its `-txid` file: the reference prints none here.
  if (values.json) io.stdout.write(summary(job, '', clock.monotonic() - started));
}

async function outputExists({ fileSystem }: Io, path: string): Promise<boolean> {
  return (await fileSystem.stat('restore:stat-output', path)) !== undefined;
}

async function run(parsed: ParsedFlags<typeof flags>, io: Io): Promise<number> {
  const { values } = parsed;
  const argument = readArgument(parsed);
  const integrityCheck = readIntegrityCheck(values['integrity-check']);
  const timestampMs = readTimestamp(values.timestamp);
  requireOutput(argument, values);
  const selection = await selectReplica(argument, values, io);
  checkFollow(values);
  const logger = replicaLogger(selection, values.json, io);
  const { logging } = selection.config;
  const rootLogger = commandLogger(io, { logging, toStderr: values.json });
  const outputPath = values.o === '' ? (selection.databasePath ?? '') : values.o;
  if (values['if-db-not-exists'] && (await outputExists(io, outputPath))) {
    rootLogger.log('info', 'database already exists, skipping');
    return 0;
  }
  const client = await selectedClient(selection, logger, io);
  if (integrityCheck !== 'none' || values.f) {
    const { requireSafeSqlite } = await import('../../sqlite/index.ts');
    requireSafeSqlite();
  }
  const job: Job = {
    argument,
    values,
    io,
    selection,
    logger,
    rootLogger,
    client,
    catalog: new ReplicaCatalog(client, { timed: timestampMs !== undefined }),
    outputPath,
    integrityCheck,
    timestampMs,
  };
  try {
    await checkTimeBounds(job);
    if (values['dry-run']) {
      await dryRun(job);
    } else {
      await (values.f ? follow(job) : restore(job));
    }
  } finally {
    await client.close();
  }
  return 0;
}

/** Rebuilds a database from a replica. Spec: cli 6. */
export const command: Command = defineCommand({
  name: 'restore',
  synopsis: ['restore [flags] DB_PATH', 'restore [flags] -o PATH REPLICA_URL'],
  about: 'Rebuilds a database from its replica.',
  flags,
  run,
});
