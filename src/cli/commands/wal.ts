import type { Command } from '../command.ts';
import { command as ltx } from './ltx.ts';

const WARNING = "Warning: 'wal' command is deprecated, please use 'ltx' instead\n";

/** The former name of `ltx`. Spec: cli 7. */
export const command: Command = {
  name: 'wal',
  usage: (io) => ltx.usage(io),
  run(args, io) {
    io.stderr.write(WARNING);
    return ltx.run(args, io);
  },
};
