import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { type Clock, isAborted } from '../lib/clock.ts';
import { type McpProtocol, notJson, parseMessage, type RpcAnswer } from './protocol.ts';

/** How long commands may go on after the client has gone. */
const GRACE_MS = 10_000;

export interface StdioInit {
  /** One JSON object to a line. */
  readonly input: Readable;
  readonly write: (text: string) => void;
  readonly clock: Clock;
  /** Ends the conversation. */
  readonly signal: AbortSignal;
}

/** Ends with the input or the signal; commands that are running then may end, but not for long. */
export async function serveStdio(protocol: McpProtocol, init: StdioInit): Promise<void> {
  const { clock, input, signal, write } = init;
  const stop = new AbortController();
  const working = new Set<Promise<void>>();
  const say = (answer: RpcAnswer | undefined): void => {
    if (answer !== undefined && !stop.signal.aborted) write(`${JSON.stringify(answer)}\n`);
  };
  const serve = async (line: string): Promise<void> => {
    const message = parseMessage(line);
    if (message === undefined) say(notJson);
    else say(await protocol.answer(message, 'stdio', stop.signal));
  };
  await protocol.start();
  const lines = createInterface({ input });
  const ended = new Promise<void>((resolve) => {
    lines.once('close', resolve);
    signal.addEventListener('abort', () => lines.close(), { once: true });
    if (isAborted(signal)) lines.close();
  });
  lines.on('line', (line) => {
    if (line.trim() === '') return;
    const work = serve(line);
    working.add(work);
    void work.finally(() => void working.delete(work));
  });
  await ended;
  const grace = clock.timer(isAborted(signal) ? 0 : GRACE_MS, () => stop.abort());
  await Promise.allSettled(working);
  grace.cancel();
  await protocol.close();
}
