import { askDaemon, textOf } from '../control/client.ts';
import { controlFlags, requirePositive } from '../control/flags.ts';
import { type Command, defineCommand, limitPositionals } from '../command.ts';
import { formatJson } from '../output/format.ts';
import { wholeSeconds } from './info.ts';

function line(entry: unknown): string {
  const fields = typeof entry === 'object' && entry !== null ? { ...entry } : {};
  const last = wholeSeconds(textOf(fields, 'last_sync_at')) || 'never';
  return `${textOf(fields, 'path')} [${textOf(fields, 'status')}] (last sync: ${last})\n`;
}

/** Lists the databases that a daemon manages. Spec: cli 12. */
export const command: Command = defineCommand({
  name: 'list',
  synopsis: ['list [OPTIONS]'],
  about: 'Lists the databases that a running daemon manages.',
  flags: controlFlags(10),
  async run({ values, positionals }, { clock, stdout }) {
    limitPositionals(positionals, 0);
    requirePositive(values.timeout);
    const answer = await askDaemon({
      command: 'list',
      socket: values.socket,
      method: 'GET',
      path: '/list',
      timeoutMs: values.timeout * 1000,
      clock,
    });
    const { databases } = answer;
    const entries: readonly unknown[] = Array.isArray(databases) ? databases : [];
    if (values.json) stdout.write(formatJson(answer));
    else if (entries.length === 0) stdout.write('No databases configured\n');
    else stdout.write(entries.map(line).join(''));
    return 0;
  },
});
