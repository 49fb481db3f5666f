import { writeSync } from 'node:fs';
import { systemClock } from '../lib/clock.ts';
import { nodeFileSystem } from '../lib/file-system.ts';
import { type Command, type Io, MERGED_OUTPUT, type TextSink } from './command.ts';
import { EXIT_ERROR, EXIT_OK, printError } from './exit-codes.ts';
import { FlagError, HelpRequest } from './flags.ts';
import { guardProcess } from './guards.ts';
import { loadNow } from './load-now.ts';
import { commandTable, mainHelp } from './table.ts';
import { usageError } from './command.ts';

const HELP_FLAGS: ReadonlySet<string> = new Set(['-h', '-help', '--help']);

/** Names of a key pair under this program's prefix, and where the S3 client looks for it. Spec: cli 3. */
const COPIED_VARIABLES: readonly (readonly [from: string, to: string])[] = [
  ['LITESTREAM_ACCESS_KEY_ID', 'AWS_ACCESS_KEY_ID'],
  ['LITESTREAM_SECRET_ACCESS_KEY', 'AWS_SECRET_ACCESS_KEY'],
];

function copyVariables(environment: NodeJS.ProcessEnv): void {
  for (const [from, to] of COPIED_VARIABLES) {
    const value = environment[from];
    if (value !== undefined && environment[to] === undefined) environment[to] = value;
  }
}

function sink(stream: NodeJS.WriteStream): TextSink {
  // A reader that went away (`litestream ltx … | head`) is no reason to stop replicating.
  stream.on('error', () => undefined);
  return { write: (text) => void stream.write(text), terminal: stream.isTTY };
}

async function runCommand(command: Command, args: readonly string[], io: Io): Promise<number> {
  try {
    return await command.run(args, io);
  } catch (error) {
    if (error instanceof HelpRequest) {
      io.stdout.write(command.usage(io));
      return args.some((arg) => HELP_FLAGS.has(arg)) ? EXIT_OK : EXIT_ERROR;
    }
    if (error instanceof FlagError) {
      io.stderr.write(`${error.message}\n`);
      io.stdout.write(command.usage(io));
    }
    return printError(error, io);
  }
}

/** Runs one command line and returns its exit code. Spec: cli 1 and 16. */
async function run(args: readonly string[], io: Io): Promise<number> {
  const [name = '', ...rest] = args;
  if (name === 'help' || name === '' || name.startsWith('-')) {
    io.stdout.write(mainHelp());
    return name === 'help' || args.some((arg) => HELP_FLAGS.has(arg)) ? EXIT_OK : EXIT_ERROR;
  }
  const row = commandTable.find((entry) => entry.name === name);
  if (row === undefined) return printError(usageError(`litestream ${name}: unknown command`), io);
  loadNow(`commands/${name}`);
  const { command } = await row.load();
  return runCommand(command, rest, io);
}

/** Ends the process once both streams are written out. A natural end would close SQLite, which deletes the WAL. */
function exit(code: number): void {
  const streams = [process.stdout, process.stderr];
  let open = streams.length;
  for (const stream of streams) {
    stream.write('', () => {
      open -= 1;
      if (open === 0) process.exit(code);
    });
  }
}

/** Runs the command line of this process and ends it. */
export async function main(environment: NodeJS.ProcessEnv): Promise<void> {
  const stdout = sink(process.stdout);
  const io: Io = {
    stdout,
    stderr: environment[MERGED_OUTPUT] === undefined ? sink(process.stderr) : stdout,
    environment,
    clock: systemClock,
    fileSystem: nodeFileSystem,
  };
  // Written at once: the process does not live long enough for a stream.
  guardProcess((text) => void writeSync(process.stderr.fd, text));
  copyVariables(environment);
  let code = EXIT_ERROR;
  try {
    code = await run(process.argv.slice(2), io);
  } catch (error) {
    printError(error, io);
  }
  exit(code);
}
