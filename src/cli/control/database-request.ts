import type { Io } from '../command.ts';
import { formatJson } from '../output/format.ts';
import { askDaemon } from './client.ts';
import { clientTimeoutMs } from './flags.ts';

export interface DatabaseRequest {
  readonly command: string;
  readonly socket: string;
  /** Seconds; ≤ 0 = unbounded. */
  readonly timeout: number;
  readonly body: Readonly<Record<string, unknown>>;
}

/** Sends a request about one database; the command's name is the path. @throws LitestreamError as `askDaemon` */
export function requestFor(
  { body, command, socket, timeout }: DatabaseRequest,
  { clock }: Pick<Io, 'clock'>,
): ReturnType<typeof askDaemon> {
  return askDaemon({
    command,
    socket,
    method: 'POST',
    path: `/${command}`,
    body,
    timeoutMs: clientTimeoutMs(timeout),
    clock,
  });
}

/** Prints `name: value` lines, or the same as JSON. */
export function printFields(
  fields: Readonly<Record<string, string | number>>,
  json: boolean,
  { stdout }: Pick<Io, 'stdout'>,
): void {
  if (json) stdout.write(formatJson(fields));
  else for (const [name, value] of Object.entries(fields)) stdout.write(`${name}: ${value}\n`);
}
