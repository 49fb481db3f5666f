import { tmpdir } from 'node:os';
import { formatTxid } from '../../formats/ltx/index.ts';
import type { ReplicaClient } from '../../storage/index.ts';
import {
  type CheckResult,
  type Finding,
  liveSource,
  recordOf,
  type TxidRange,
  type VerifyDepth,
  type VerifyOptions,
  type VerifyReport,
  verifyReplica,
  writeRecord,
} from '../../verify/index.ts';
import {
  type Command,
  configFlags,
  defineCommand,
  type Io,
  limitPositionals,
  usageError,
} from '../command.ts';
import { EXIT_ERROR, EXIT_OK } from '../exit-codes.ts';
import { boolFlag, type FlagValues, intFlag, stringFlag } from '../flags.ts';
import { formatJson, formatSize, formatTime } from '../output/format.ts';
import { formatTable } from '../output/table.ts';
import { type Selection, replicaLogger, selectedClient, selectReplica } from '../select-replica.ts';
import { SignalQueue } from '../signals.ts';

const flags = {
  ...configFlags,
  replica: stringFlag('NAME', 'replica of the database (default: its first)'),
  json: boolFlag('print JSON'),
  quick: boolFlag('look at listings only: is every transaction there?'),
  full: boolFlag('run integrity_check on the restored database, not quick_check'),
  'rate-limit': intFlag('BYTES', 'bytes per second read from the replica, 0 = no limit', 0),
  'temp-dir': stringFlag('PATH', 'folder for the test restore (default: that of the system)'),
};

type Values = FlagValues<typeof flags>;

function depthOf({ full, quick }: Values): VerifyDepth {
  if (quick && full) throw usageError('cannot specify both -quick and -full');
  return quick ? 'quick' : full ? 'full' : 'standard';
}

function rangeText(range: TxidRange | undefined): string {
  if (range === undefined) return 'none';
  const { from, to } = range;
  return from === to
    ? `TXID ${formatTxid(from)}`
    : `TXIDs ${formatTxid(from)} to ${formatTxid(to)}`;
}

function findingText({ affected, message, remedy, severity }: Finding): string {
  const title = severity === 'damage' ? 'DAMAGE' : 'WARNING';
  return `${title}: ${message}
  restore points affected: ${rangeText(affected)}
  remedy: ${remedy}
`;
}

function verdict({ checks, findings, ok }: VerifyReport): string {
  const damage = findings.filter(({ severity }) => severity === 'damage').length;
  if (!ok) return `The replica is damaged: ${damage} ${damage === 1 ? 'finding' : 'findings'}.\n`;
  const skipped = checks.filter(({ status }) => status === 'skipped').map(({ name }) => name);
  const rest = skipped.length === 0 ? '' : ` Not checked: ${skipped.join(', ')}.`;
  return `No damage found.${rest}\n`;
}

function checkRow({ detail, name, status }: CheckResult): string[] {
  return [name, status, detail];
}

function reportText(client: ReplicaClient, report: VerifyReport): string {
  const levels = report.levels.map(({ files, level, maxTxid, minTxid, size }) => [
    String(level),
    String(files),
    formatSize(size),
    formatTxid(minTxid),
    formatTxid(maxTxid),
  ]);
  const sections = [
    `replica: ${client.type} ${client.location}\nrestore points: ${rangeText(report.restorable)}\n`,
    ...(levels.length === 0
      ? []
      : [formatTable(['level', 'files', 'size', 'min_txid', 'max_txid'], levels)]),
    formatTable(['check', 'result', 'detail'], report.checks.map(checkRow)),
    ...report.findings.map(findingText),
    verdict(report),
  ];
  return sections.join('\n');
}

function jsonRange(range: TxidRange | undefined): { from: string; to: string } | null {
  if (range === undefined) return null;
  return { from: formatTxid(range.from), to: formatTxid(range.to) };
}

function reportJson(selection: Selection, report: VerifyReport): string {
  const { databasePath, replica } = selection;
  return formatJson({
    ok: report.ok,
    db_path: databasePath ?? null,
    replica: replica.name,
    started_at: formatTime(report.startedAt),
    duration_ms: Math.round(report.durationMs),
    verified_txid: report.verifiedTxid === undefined ? null : formatTxid(report.verifiedTxid),
    restorable: jsonRange(report.restorable),
    files_read: report.filesRead,
    bytes_read: report.bytesRead,
    levels: report.levels.map(({ files, level, maxTxid, minTxid, size }) => ({
      level,
      files,
      size,
      min_txid: formatTxid(minTxid),
      max_txid: formatTxid(maxTxid),
    })),
    checks: report.checks,
    findings: report.findings.map((finding) => ({
      kind: finding.kind,
      severity: finding.severity,
      message: finding.message,
      level: finding.level ?? null,
      txids: jsonRange(finding.range),
      affected: jsonRange(finding.affected),
      remedy: finding.remedy,
    })),
  });
}

async function run(argument: string, values: Values, io: Io): Promise<number> {
  const depth = depthOf(values);
  const selection = await selectReplica(argument, values, io);
  const logger = replicaLogger(selection, true, io);
  const client = await selectedClient(selection, logger, io);
  const { clock, fileSystem } = io;
  const { databasePath } = selection;
  using signals = new SignalQueue();
  const stop = new AbortController();
  signals.handle(() => stop.abort());
  const options: VerifyOptions = {
    client,
    depth,
    tempParent: values['temp-dir'] || tmpdir(),
    bytesPerSecond: Math.max(0, values['rate-limit']),
    fileSystem,
    clock,
    signal: stop.signal,
    source:
      databasePath === undefined ? undefined : liveSource({ path: databasePath, client, clock }),
  };
  try {
    const report = await verifyReplica(options);
    const text = values.json ? reportJson(selection, report) : reportText(client, report);
    io.stdout.write(text);
    if (selection.metaPath !== undefined && depth !== 'quick') {
      const record = recordOf(selection.replica.name || client.type, report);
      await writeRecord(fileSystem, selection.metaPath, record);
    }
    return report.ok ? EXIT_OK : EXIT_ERROR;
  } finally {
    await client.close();
  }
}

/** Checks that a replica can be trusted. */
export const command: Command = defineCommand({
  name: 'verify',
  synopsis: ['verify [flags] DB_PATH', 'verify [flags] REPLICA_URL'],
  about: `Checks a replica: is every transaction there, is every byte right, do the files agree with each other, does it restore, is the
result the database itself. May run while the database is in use and replicated. Nothing is changed.`,
  flags,
  more: `The exit status is 1 if damage was found, or if the check could not be carried out.
The test restore needs as much room as the database takes.`,
  async run({ positionals, values }, io) {
    const [argument = ''] = positionals;
    if (argument === '') {
      throw usageError(
        'database path or replica URL required',
        'litestream verify s3://bucket/prefix',
      );
    }
    limitPositionals(positionals, 1);
    return await run(argument, values, io);
  },
});
