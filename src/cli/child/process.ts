import { spawn } from 'node:child_process';
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { LitestreamError } from '../../lib/errors.ts';
import { osErrorCode, osErrorText } from '../../lib/os-error.ts';
import type { Io } from '../command.ts';
import { splitCommand } from './words.ts';

/** How a child ended: with a status, or by a signal. */
export type ChildResult =
  | { readonly kind: 'status'; readonly status: number }
  | { readonly kind: 'signal'; readonly signal: NodeJS.Signals };

/** A running child process. */
export interface Child {
  readonly ended: Promise<ChildResult>;
  /** False if the child is gone already. */
  readonly signal: (signal: NodeJS.Signals) => boolean;
}

const SIGNAL_TEXTS: Readonly<Record<string, string>> = {
  SIGHUP: 'hangup',
  SIGINT: 'interrupt',
  SIGQUIT: 'quit',
  SIGILL: 'illegal instruction',
  SIGTRAP: 'trace/breakpoint trap',
  SIGABRT: 'aborted',
  SIGBUS: 'bus error',
  SIGFPE: 'floating point exception',
  SIGKILL: 'killed',
  SIGUSR1: 'user defined signal 1',
  SIGSEGV: 'segmentation fault',
  SIGUSR2: 'user defined signal 2',
  SIGPIPE: 'broken pipe',
  SIGALRM: 'alarm clock',
  SIGTERM: 'terminated',
};

/** The reference's word for a signal: `interrupt`, `terminated`. */
export function signalText(signal: NodeJS.Signals): string {
  return SIGNAL_TEXTS[signal] ?? signal;
}

/** `exit status 3` or `signal: killed`. */
export function childResultText(result: ChildResult): string {
  return result.kind === 'status'
    ? `exit status ${result.status}`
    : `signal: ${signalText(result.signal)}`;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

function startError(text: string, cause?: unknown): LitestreamError {
  return new LitestreamError('ERR_IO', `cannot start exec command: ${text}`, { cause });
}

/** The file that a program's name stands for. */
function findProgram(name: string, searchPath: string): string {
  if (name === '') throw startError('exec: no command');
  if (name.includes('/')) return name;
  for (const folder of searchPath.split(delimiter)) {
    const path = join(folder === '' ? '.' : folder, name);
    if (isExecutable(path)) return path;
  }
  throw startError(`exec: "${name}": executable file not found in $PATH`);
}

/**
 * Starts a command; its standard input is `/dev/null`, its output goes where ours goes.
 *
 * @throws LitestreamError `ERR_CONFIG` if the command cannot be parsed, `ERR_IO` if it cannot be started.
 *
 * Spec: cli 18.
 */
export async function startChild(command: string, { environment }: Io): Promise<Child> {
  const [name, ...args] = splitCommand(command);
  const program = findProgram(name, environment['PATH'] ?? '');
  const child = spawn(program, args, {
    argv0: name,
    env: { ...environment },
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  const ended = new Promise<ChildResult>((resolve) => {
    child.once('exit', (status, signal) => {
      resolve(
        signal === null ? { kind: 'status', status: status ?? 0 } : { kind: 'signal', signal },
      );
    });
  });
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', (error) => {
      const text = osErrorText(osErrorCode(error) ?? '');
      reject(startError(`fork/exec ${program}: ${text}`, error));
    });
  });
  return { ended, signal: (signal) => child.kill(signal) };
}
