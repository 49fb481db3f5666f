import { spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { abortError } from '../../lib/clock.ts';
import { errorMessage } from '../../lib/errors.ts';
import type { CommandOutcome, CommandRequest } from '../../mcp/index.ts';
import { MERGED_OUTPUT } from '../command.ts';

const OUTPUT_BYTES_MAX = 32 << 20;

/** The start of a stream's text, and what to do when there is more. */
async function collect(stream: Readable, tooLong: () => void): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream) {
    if (!Buffer.isBuffer(chunk)) continue;
    size += chunk.length;
    if (size <= OUTPUT_BYTES_MAX) chunks.push(chunk);
    else tooLong();
  }
  return Buffer.concat(chunks).toString();
}

/**
 * Runs a command of this very program in a process of its own: whatever it opens, needs or breaks is nothing to the databases under
 * custody here, and another `litestream` on `PATH` is never asked.
 *
 * @throws LitestreamError `ERR_ABORTED` when the signal ended it
 */
export async function runTool(
  { args, resultOnly, signal }: CommandRequest,
  environment: NodeJS.ProcessEnv,
): Promise<CommandOutcome> {
  const [, entry = ''] = process.argv;
  const child = spawn(process.execPath, [...process.execArgv, entry, ...args], {
    env: resultOnly === true ? environment : { ...environment, [MERGED_OUTPUT]: '1' },
    stdio: ['ignore', 'pipe', 'ignore'],
    windowsHide: true,
  });
  const stop = (): void => void child.kill();
  signal.addEventListener('abort', stop, { once: true });
  try {
    const { promise: ended, resolve } = Promise.withResolvers<string>();
    let tooLong = false;
    child.once('error', (error) => resolve(errorMessage(error)));
    child.once('close', (code, killedBy) => {
      if (tooLong) resolve(`more than ${OUTPUT_BYTES_MAX} bytes of output`);
      else if (killedBy !== null) resolve(`signal: ${killedBy}`);
      else resolve(code === 0 ? '' : `exit status ${code}`);
    });
    const output = await collect(child.stdout, () => {
      tooLong = true;
      stop();
    });
    const failure = await ended;
    if (signal.aborted) throw abortError(signal);
    return { output, failure };
  } finally {
    signal.removeEventListener('abort', stop);
  }
}
