import { type Command, defineCommand } from '../command.ts';
import { numberOf, textOf } from './client.ts';
import { printFields, requestFor } from './database-request.ts';
import { controlFlags, pathArgument } from './flags.ts';

export interface StartStop {
  readonly name: 'start' | 'stop';
  readonly about: string;
  /** What the database is afterwards. */
  readonly state: string;
}

/** The two commands differ in their words only. Spec: cli 14. */
export function startStopCommand({ about, name, state }: StartStop): Command {
  return defineCommand({
    name,
    synopsis: [`${name} [OPTIONS] DB_PATH`],
    about,
    flags: controlFlags(30),
    async run({ values, positionals }, io) {
      const path = pathArgument(positionals, `litestream ${name} /path/to/db`);
      const { json, socket, timeout } = values;
      const body = timeout === 0 ? { path } : { path, timeout };
      const answer = await requestFor({ command: name, socket, timeout, body }, io);
      const fields = {
        status: textOf(answer, 'status'),
        db_path: textOf(answer, 'path'),
        state,
        txid: numberOf(answer, 'txid'),
        socket,
      };
      printFields(fields, json, io);
      return 0;
    },
  });
}
