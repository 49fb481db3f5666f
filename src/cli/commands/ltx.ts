import { formatTxid } from '../../formats/ltx/index.ts';
import type { FileInfo } from '../../storage/index.ts';
import {
  type Command,
  configFlags,
  defineCommand,
  type Io,
  limitPositionals,
  usageError,
} from '../command.ts';
import { BadFlagValue, boolFlag, type Flag, parseFlags, stringFlag } from '../flags.ts';
import { formatJson, formatTime } from '../output/format.ts';
import { formatTable } from '../output/table.ts';
import {
  replicaLogger,
  selectedClient,
  selectReplica,
  type SelectValues,
} from '../select-replica.ts';

const LEVEL_MAX = 9;
const ALL_LEVELS: readonly number[] = Array.from({ length: LEVEL_MAX + 1 }, (_, level) => level);

const levelFlag: Flag<readonly number[]> = {
  value: [0],
  alone: false,
  placeholder: 'LEVEL',
  help: 'level to list, 0 to 9, or "all" (default 0)',
  parse(text) {
    if (text === 'all') return ALL_LEVELS;
    if (!/^[+-]?\d+$/.test(text)) throw new BadFlagValue('invalid level: must be 0-9 or "all"');
    const level = Number(text);
    if (level < 0 || level > LEVEL_MAX) throw new BadFlagValue('level must be between 0 and 9');
    return [level];
  },
};

/** The flags of every command that lists files. */
export const listFlags: {
  readonly config: Flag<string>;
  readonly 'no-expand-env': Flag<boolean>;
  readonly json: Flag<boolean>;
  readonly replica: Flag<string>;
} = {
  ...configFlags,
  json: boolFlag('print JSON'),
  replica: stringFlag('NAME', 'replica of the database (default: its first)'),
};

const flags = { ...listFlags, level: levelFlag };

/** What to list. */
export interface ListRequest {
  readonly values: SelectValues & { readonly level: readonly number[] };
  readonly positionals: readonly string[];
}

/**
 * The files of the replica that an argument names, level by level.
 *
 * @throws LitestreamError `ERR_USAGE`, `ERR_CONFIG…`, storage errors
 */
export async function listFiles(
  { values, positionals }: ListRequest,
  command: string,
  io: Io,
): Promise<FileInfo[]> {
  const [argument = ''] = positionals;
  if (argument === '') {
    throw usageError('database path or replica URL required', `litestream ${command} /path/to/db`);
  }
  limitPositionals(positionals, 1);
  const selection = await selectReplica(argument, values, io);
  const client = await selectedClient(selection, replicaLogger(selection, true, io), io);
  const files: FileInfo[] = [];
  try {
    for (const level of values.level) {
      for await (const file of client.list(level, { accurateTimes: true })) files.push(file);
    }
  } finally {
    await client.close();
  }
  return files;
}

/** Prints files as `ltx` does. */
export function printFiles(files: readonly FileInfo[], json: boolean, io: Io): void {
  const rows = files.map(({ level, minTxid, maxTxid, size, createdAt }) => ({
    level,
    min_txid: formatTxid(minTxid),
    max_txid: formatTxid(maxTxid),
    size,
    timestamp: formatTime(createdAt),
  }));
  const header = ['level', 'min_txid', 'max_txid', 'size', 'created'];
  const cells = rows.map((row) => Object.values(row).map(String));
  io.stdout.write(json ? formatJson(rows) : formatTable(header, cells));
}

/** Lists the files of a replica. Spec: cli 7. */
export const command: Command = defineCommand({
  name: 'ltx',
  synopsis: ['ltx [flags] DB_PATH', 'ltx [flags] REPLICA_URL'],
  about: 'Lists the LTX files of a replica.',
  flags,
  async run(parsed, io) {
    printFiles(await listFiles(parsed, 'ltx', io), parsed.values.json, io);
    return 0;
  },
});

const WAL_LEVELS: readonly number[] = ALL_LEVELS.filter((level) => level < LEVEL_MAX);

/** `wal list REPLICA`: all levels but snapshots, unless `-level` says otherwise. Spec: cli 23.3. */
export async function runWalList(args: readonly string[], io: Io): Promise<number> {
  const { values, given, positionals } = parseFlags(flags, args);
  const level = given.has('level') ? values.level : WAL_LEVELS;
  const files = await listFiles({ values: { ...values, level }, positionals }, 'ltx', io);
  printFiles(files, values.json, io);
  return 0;
}
