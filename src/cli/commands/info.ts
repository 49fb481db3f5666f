import { formatDuration } from '../../lib/go-duration.ts';
import { askDaemon, numberOf, textOf } from '../control/client.ts';
import { controlFlags, requirePositive } from '../control/flags.ts';
import { type Command, defineCommand, limitPositionals } from '../command.ts';
import { formatJson } from '../output/format.ts';

/** A time of the daemon without fractions of a second, in its zone. */
export function wholeSeconds(time: string): string {
  return time.replace(/\.\d+(?=Z|[+-])/, '');
}

/** Shows what a daemon says of itself. Spec: cli 12. */
export const command: Command = defineCommand({
  name: 'info',
  synopsis: ['info [OPTIONS]'],
  about: 'Shows version, process and uptime of a running daemon.',
  flags: controlFlags(10),
  async run({ values, positionals }, { clock, stdout }) {
    limitPositionals(positionals, 0);
    requirePositive(values.timeout);
    const answer = await askDaemon({
      command: 'info',
      socket: values.socket,
      method: 'GET',
      path: '/info',
      timeoutMs: values.timeout * 1000,
      clock,
    });
    if (values.json) {
      stdout.write(formatJson(answer));
      return 0;
    }
    const rows = [
      ['PID:', String(numberOf(answer, 'pid'))],
      ['Uptime:', formatDuration(numberOf(answer, 'uptime_seconds') * 1000)],
      ['Started at:', wholeSeconds(textOf(answer, 'started_at'))],
      ['Databases:', String(numberOf(answer, 'database_count'))],
    ];
    stdout.write(`Litestream ${textOf(answer, 'version')}\n`);
    for (const [label = '', value = ''] of rows) stdout.write(`  ${label.padEnd(12)}${value}\n`);
    return 0;
  },
});
