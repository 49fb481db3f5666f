import { numberOf, textOf } from '../control/client.ts';
import { printFields, requestFor } from '../control/database-request.ts';
import { controlFlags, pathArgument, requirePositive } from '../control/flags.ts';
import { type Command, defineCommand } from '../command.ts';
import { boolFlag } from '../flags.ts';

/** Has a daemon sync a database now. Spec: cli 15. */
export const command: Command = defineCommand({
  name: 'sync',
  synopsis: ['sync [OPTIONS] DB_PATH'],
  about:
    'Captures what has been committed to a database now. With -wait, returns when every replica has it: what was committed\n' +
    'before the call is durable then.',
  flags: { ...controlFlags(30), wait: boolFlag('wait until every replica has it') },
  async run({ values, positionals }, io) {
    const path = pathArgument(positionals, 'litestream sync /path/to/db');
    const { json, socket, timeout, wait } = values;
    requirePositive(timeout);
    const began = io.clock.monotonic();
    const body = { path, wait, timeout };
    const answer = await requestFor({ command: 'sync', socket, timeout, body }, io);
    const fields = {
      db_path: textOf(answer, 'path'),
      txid: numberOf(answer, 'txid'),
      ...(wait ? { replica_txid: numberOf(answer, 'replicated_txid') } : {}),
      duration_ms: Math.round(io.clock.monotonic() - began),
    };
    printFields(fields, json, io);
    return 0;
  },
});
