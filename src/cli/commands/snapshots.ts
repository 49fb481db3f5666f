import { formatTxid } from '../../formats/ltx/index.ts';
import { type Command, defineCommand } from '../command.ts';
import { parseFlags } from '../flags.ts';
import { formatJson, formatTime } from '../output/format.ts';
import { formatTable } from '../output/table.ts';
import { listFiles, listFlags } from './ltx.ts';

const SNAPSHOT_LEVEL = 9;

/** Lists the snapshots of a replica. Spec: cli 23.2. */
export const command: Command = defineCommand({
  name: 'snapshots',
  synopsis: ['snapshots list [flags] DB_PATH', 'snapshots list [flags] REPLICA_URL'],
  about: 'Lists the snapshots of a replica.',
  flags: listFlags,
  async run(parsed, io) {
    // `list` may stand before the flags, and may be left out.
    const [first, ...rest] = parsed.positionals;
    const { values, positionals } = first === 'list' ? parseFlags(listFlags, rest) : parsed;
    const json = values.json || parsed.values.json;
    const level = [SNAPSHOT_LEVEL];
    const files = await listFiles(
      { values: { ...values, level }, positionals },
      'snapshots list',
      io,
    );
    const rows = files.map(({ minTxid, maxTxid, size, createdAt }) => ({
      format: 'ltx',
      min_txid: formatTxid(minTxid),
      max_txid: formatTxid(maxTxid),
      size,
      timestamp: formatTime(createdAt),
    }));
    const header = ['format', 'min_txid', 'max_txid', 'generation', 'index', 'size', 'created'];
    const cells = rows.map((row) => {
      return [row.format, row.min_txid, row.max_txid, '-', '-', String(row.size), row.timestamp];
    });
    io.stdout.write(json ? formatJson(rows) : formatTable(header, cells));
    return 0;
  },
});
