import { LitestreamError } from '../../lib/errors.ts';
import { controlFlags } from '../control/flags.ts';
import {
  type Command,
  configFlags,
  defineCommand,
  type Io,
  limitPositionals,
  usageError,
} from '../command.ts';
import { type ConfigFlagValues, readConfigForCommand } from '../config.ts';
import { boolFlag, parseFlags } from '../flags.ts';

const ACTIONS: readonly string[] = ['status', 'sync', 'promote'];

const flags = {
  ...configFlags,
  ...controlFlags(30),
  wait: boolFlag('with sync: wait until the read replica has what was committed'),
} as const;

async function requireEntry(
  action: string,
  name: string | undefined,
  values: ConfigFlagValues,
  io: Io,
): Promise<void> {
  if (values.config === '') return;
  const { databases } = await readConfigForCommand(values, io);
  const names = databases.flatMap(({ readReplicas }) => readReplicas.map((entry) => entry.name));
  if (name === undefined || names.includes(name)) return;
  throw new LitestreamError(
    'ERR_CONFIG',
    `read-replica ${action} failed: read replica not found: ${name}`,
  );
}

/** The commands of read replicas, which this version reads from the configuration and does not keep up to date. Spec: cli 23.5. */
export const command: Command = defineCommand({
  name: 'read-replica',
  synopsis: [
    'read-replica status [flags] [NAME]',
    'read-replica sync [flags] NAME',
    'read-replica promote [flags] NAME',
  ],
  about:
    'Shows, syncs or promotes the read replicas of the configuration file. Not available in this version: read-replicas\n' +
    'entries are checked and otherwise ignored. litestream restore -f keeps a copy of a database up to date.',
  flags,
  async run(parsed, io) {
    const [action = '', ...rest] = parsed.positionals;
    if (!ACTIONS.includes(action)) {
      const problem = action === '' ? 'is missing' : `"${action}" is unknown`;
      throw usageError(
        `read-replica command ${problem} (expected status, sync or promote)`,
        'litestream read-replica status -config /etc/litestream.yml',
      );
    }
    const { values, positionals } = parseFlags(flags, rest);
    limitPositionals(positionals, 1);
    const [name] = positionals;
    if (name === undefined && action !== 'status') throw usageError('read replica name required');
    await requireEntry(action, name, values, io);
    throw usageError(
      `read-replica ${action}: read replicas are not available in this version`,
      'litestream restore -f -o /path/to/copy.db /path/to/db',
    );
  },
});
