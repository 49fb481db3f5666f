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
import { BadFlagValue, boolFlag, type Flag, type ParsedFlags, stringFlag } from '../flags.ts';
import { formatJson, formatTime } from '../output/format.ts';
import { formatTable } from '../output/table.ts';
import { replicaLogger, selectedClient, selectReplica } from '../select-replica.ts';

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

const flags = {
  ...configFlags,
  json: boolFlag('print JSON'),
  level: levelFlag,
  replica: stringFlag('NAME', 'replica of the database (default: its first)'),
};

async function listFiles(
  { values, positionals }: ParsedFlags<typeof flags>,
  io: Io,
): Promise<FileInfo[]> {
  const [argument = ''] = positionals;
  if (argument === '') {
    throw usageError('database path or replica URL required', 'litestream ltx /path/to/db');
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

/** Lists the files of a replica. Spec: cli 7. */
export const command: Command = defineCommand({
  name: 'ltx',
  synopsis: ['ltx [flags] DB_PATH', 'ltx [flags] REPLICA_URL'],
  about: 'Lists the LTX files of a replica.',
  flags,
  async run(parsed, io) {
    const rows = (await listFiles(parsed, io)).map(
      ({ level, minTxid, maxTxid, size, createdAt }) => ({
        level,
        min_txid: formatTxid(minTxid),
        max_txid: formatTxid(maxTxid),
        size,
        timestamp: formatTime(createdAt),
      }),
    );
    const header = ['level', 'min_txid', 'max_txid', 'size', 'created'];
    const cells = rows.map((row) => Object.values(row).map(String));
    io.stdout.write(parsed.values.json ? formatJson(rows) : formatTable(header, cells));
    return 0;
  },
});
