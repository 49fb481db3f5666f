import { join } from 'node:path';
import { resolveDatabases } from '../../app/index.ts';
import { normalizePath, type ResolvedDatabase } from '../../config/index.ts';
import { formatTxid, matchFileName } from '../../formats/ltx/index.ts';
import type { FileSystem } from '../../lib/file-system.ts';
import { readRecords } from '../../verify/index.ts';
import { type Command, configFlags, defineCommand } from '../command.ts';
import { readConfigForCommand } from '../config.ts';
import { boolFlag } from '../flags.ts';
import { formatJson, formatSize, formatTime } from '../output/format.ts';
import { formatTable } from '../output/table.ts';
import { recoveryText } from '../recovery-window.ts';
import { type RemoteColumns, remoteColumns } from '../remote-status.ts';

interface StatusRow extends Partial<RemoteColumns> {
  readonly database: string;
  /** `unhealthy`: the last verification found a replica to be damaged. */
  readonly status: 'ok' | 'not initialized' | 'no database' | 'error' | 'unhealthy';
  readonly local_txid: string;
  readonly wal_size: string;
  /** The last verification of each replica, if there was one. */
  readonly verified?: readonly VerifiedRow[];
}

interface VerifiedRow {
  readonly replica: string;
  readonly at: string;
  readonly result: 'ok' | 'damage';
  readonly txid: string;
  readonly message: string;
}

/** The highest local TXID, 0 if there is none, undefined if the folder cannot be read. */
async function localTxid(fileSystem: FileSystem, metaPath: string): Promise<bigint | undefined> {
  let names: readonly string[];
  try {
    names = await fileSystem.list('status:list', join(metaPath, 'ltx', '0'));
  } catch {
    return undefined;
  }
  let highest = 0n;
  for (const name of names) {
    const { maxTxid } = matchFileName(name) ?? { maxTxid: 0n };
    if (maxTxid > highest) highest = maxTxid;
  }
  return highest;
}

async function walSize(fileSystem: FileSystem, path: string): Promise<string> {
  try {
    const stat = await fileSystem.stat('status:stat-wal', `${path}-wal`);
    return formatSize(stat?.size ?? 0);
  } catch {
    return '-';
  }
}

async function databaseExists(fileSystem: FileSystem, path: string): Promise<boolean> {
  try {
    return (await fileSystem.stat('status:stat', path)) !== undefined;
  } catch {
    // What cannot be looked at may well exist; the columns show what is known.
    return true;
  }
}

async function verifiedOf(
  fileSystem: FileSystem,
  metaPath: string,
): Promise<readonly VerifiedRow[]> {
  const records = await readRecords(fileSystem, metaPath);
  return records.map(({ at, ...record }) => ({ ...record, at: formatTime(at) }));
}

/** One line per replica that was verified. */
function verifiedText(rows: readonly StatusRow[]): string {
  const lines = rows.flatMap(({ database, verified = [] }) =>
    verified.map(({ at, message, replica, result, txid }) => {
      const what = `${database}: replica ${replica}`;
      if (result === 'damage') return `${what} DAMAGED, verified ${at}: ${message}`;
      return `${what} verified ${at}${txid === '' ? '' : `, TXID ${txid}`}`;
    }),
  );
  return lines.length === 0 ? '' : `\n${lines.join('\n')}\n`;
}

async function statusOf(database: ResolvedDatabase, fileSystem: FileSystem): Promise<StatusRow> {
  const { path, metaPath } = database;
  if (!(await databaseExists(fileSystem, path))) {
    return { database: path, status: 'no database', local_txid: '-', wal_size: '-' };
  }
  const txid = await localTxid(fileSystem, metaPath);
  const verified = await verifiedOf(fileSystem, metaPath);
  const damaged = verified.some(({ result }) => result === 'damage');
  const sound = damaged ? 'unhealthy' : 'ok';
  const status = txid === undefined ? 'error' : txid === 0n ? 'not initialized' : sound;
  return {
    database: path,
    status,
    local_txid: txid === undefined || txid === 0n ? '-' : formatTxid(txid),
    wal_size: await walSize(fileSystem, path),
    ...(verified.length === 0 ? {} : { verified }),
  };
}

/** What each default replica can be restored to. */
function recoveryLines(rows: readonly StatusRow[]): string {
  return rows
    .flatMap(({ database, recovery }) =>
      recovery === undefined ? [] : [`\n${database}: ${recoveryText(recovery)}`],
    )
    .join('');
}

/** Shows what local files say about each database. Spec: cli 9. */
export const command: Command = defineCommand({
  name: 'status',
  synopsis: ['status [flags] [DB_PATH]'],
  about:
    'Shows the local replication status of one or all databases of the configuration file. With -remote also the newest\n' +
    'TXID of the replica, how long the oldest local file has been missing there, and what the replica can be restored to.',
  flags: {
    ...configFlags,
    json: boolFlag('print JSON'),
    remote: boolFlag('list the default replica of each database, too'),
  },
  async run({ values, positionals }, io) {
    const config = await readConfigForCommand(values, io);
    const [argument = ''] = positionals;
    const only = argument === '' ? undefined : normalizePath(argument);
    const rows: StatusRow[] = [];
    const { databases } = await resolveDatabases(config.databases, { mayBeEmpty: true });
    for (const database of databases) {
      if (only !== undefined && database.path !== only) continue;
      const { verified, ...row } = await statusOf(database, io.fileSystem);
      const remote = values.remote ? await remoteColumns(database, io) : {};
      rows.push({ ...row, ...remote, ...(verified === undefined ? {} : { verified }) });
    }
    const header = ['database', 'status', 'local txid', 'wal size'];
    if (values.remote) header.push('replica txid', 'lag');
    const cells = rows.map((row) => {
      const { lag, local_txid: local, replica_txid: replica, wal_size: size } = row;
      return [row.database, row.status, local, size, ...(replica ? [replica, lag ?? '-'] : [])];
    });
    const text = formatTable(header, cells) + verifiedText(rows) + recoveryLines(rows);
    io.stdout.write(values.json ? formatJson(rows) : text);
    return 0;
  },
});
