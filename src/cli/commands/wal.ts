import type { Command } from '../command.ts';
import { command as ltx, runWalList } from './ltx.ts';

const WARNING = "Warning: 'wal' command is deprecated, please use 'ltx' instead\n";

/** The former name of `ltx`; `wal list REPLICA` shows all levels but snapshots. Spec: cli 7 and 23.3. */
export const command: Command = {
  name: 'wal',
  synopsis: ltx.synopsis,
  flags: ltx.flags,
  usage: (io) => ltx.usage(io),
  run(args, io) {
    io.stderr.write(WARNING);
    const [first, ...rest] = args;
    return first === 'list' && rest.length > 0 ? runWalList(rest, io) : ltx.run(args, io);
  },
};
