import { resolveDatabases } from '../../app/index.ts';
import { type Command, configFlags, defineCommand, limitPositionals } from '../command.ts';
import { readConfigForCommand } from '../config.ts';
import { boolFlag } from '../flags.ts';
import { formatJson } from '../output/format.ts';
import { formatTable } from '../output/table.ts';

/** Lists the databases of the configuration file, without touching them or the network. Spec: cli 8. */
export const command: Command = defineCommand({
  name: 'databases',
  synopsis: ['databases [flags]'],
  about: 'Lists the databases of the configuration file and the type of their replica.',
  flags: { ...configFlags, json: boolFlag('print JSON') },
  async run({ values, positionals }, io) {
    limitPositionals(positionals, 0);
    const config = await readConfigForCommand(values, io);
    const { databases } = await resolveDatabases(config.databases, { mayBeEmpty: true });
    const rows = databases.map(({ path, replicas }) => ({
      path,
      replica: replicas[0]?.location.type ?? '',
    }));
    const cells = rows.map(({ path, replica }) => [path, replica]);
    io.stdout.write(values.json ? formatJson(rows) : formatTable(['path', 'replica'], cells));
    return 0;
  },
});
