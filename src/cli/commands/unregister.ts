import { formatDuration } from '../../lib/go-duration.ts';
import { numberOf, textOf } from '../control/client.ts';
import { printFields, requestFor } from '../control/database-request.ts';
import { controlFlags, pathArgument, requirePositive } from '../control/flags.ts';
import { type Command, defineCommand } from '../command.ts';
import { boolFlag } from '../flags.ts';

function preview(path: string, socket: string, timeout: number): string {
  return `Dry run: unregister request preview
  database: ${path}
  socket: ${socket}
  replicas: daemon-managed replica for this database
  final sync: daemon close will sync the database and replica before the command completes
  timeout: ${formatDuration(timeout * 1000)}
No unregister request was sent.
`;
}

/** Removes a database from a daemon, after a last sync. Spec: cli 13. */
export const command: Command = defineCommand({
  name: 'unregister',
  synopsis: ['unregister [OPTIONS] DB_PATH'],
  about:
    'Removes a database from a running daemon after a last sync. The database, its local state and its replica are kept.',
  flags: { ...controlFlags(30), 'dry-run': boolFlag('say what would be asked, ask nothing') },
  async run({ values, positionals }, io) {
    const path = pathArgument(positionals, 'litestream unregister /path/to/db');
    const { json, socket, timeout } = values;
    requirePositive(timeout);
    if (values['dry-run']) {
      io.stdout.write(preview(path, socket, timeout));
      return 0;
    }
    const body = { path, timeout };
    const answer = await requestFor({ command: 'unregister', socket, timeout, body }, io);
    const fields = {
      status: textOf(answer, 'status'),
      db_path: textOf(answer, 'path'),
      final_txid: numberOf(answer, 'txid'),
      socket,
    };
    printFields(fields, json, io);
    return 0;
  },
});
