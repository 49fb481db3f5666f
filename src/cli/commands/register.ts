import { textOf } from '../control/client.ts';
import { printFields, requestFor } from '../control/database-request.ts';
import { controlFlags, pathArgument, requirePositive } from '../control/flags.ts';
import { type Command, defineCommand, usageError } from '../command.ts';
import { stringFlag } from '../flags.ts';

const HINT = 'litestream register -replica s3://bucket/prefix /path/to/db';

/** Adds a database to a daemon. Spec: cli 13. */
export const command: Command = defineCommand({
  name: 'register',
  synopsis: ['register [OPTIONS] -replica URL DB_PATH'],
  about:
    'Adds a database to a running daemon until the daemon ends. The file need not exist. Credentials come from the URL,\n' +
    "the daemon's environment, or the replica settings at the top of its configuration file.",
  flags: { ...controlFlags(30), replica: stringFlag('URL', 'where to replicate to; required') },
  async run({ values, positionals }, io) {
    const path = pathArgument(positionals, HINT);
    const { json, replica, socket, timeout } = values;
    if (replica === '') throw usageError('-replica is required', HINT);
    requirePositive(timeout);
    const body = { path, replica_url: replica };
    const answer = await requestFor({ command: 'register', socket, timeout, body }, io);
    const status = textOf(answer, 'status');
    const fields = {
      status: json ? status : status.replaceAll('_', ' '),
      db_path: textOf(answer, 'path'),
      replica,
      socket,
    };
    printFields(fields, json, io);
    return 0;
  },
});
