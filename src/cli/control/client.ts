import { request as httpRequest } from 'node:http';
import type { Clock } from '../../lib/clock.ts';
import { errorMessage, LitestreamError, wrapError } from '../../lib/errors.ts';
import { osErrorCode, osErrorText } from '../../lib/os-error.ts';

const RESPONSE_BYTES_MAX = 256 << 20;

/** One request to a daemon. */
export interface ControlCall {
  /** Name of the command, for messages. */
  readonly command: string;
  readonly socket: string;
  readonly method: 'GET' | 'POST';
  /** `/info`, … */
  readonly path: string;
  readonly body?: unknown;
  /** Bound of the whole request; 0 = none. */
  readonly timeoutMs: number;
  readonly clock: Clock;
}

/** A daemon's answer. */
type Fields = Readonly<Record<string, unknown>>;

interface Answer {
  readonly status: number;
  readonly text: string;
}

/** Thrown inside when the time is over. */
class TimedOut extends Error {}

/** Thrown inside when the answer had begun. */
class CutOff extends Error {
  override readonly cause: unknown;
  constructor(cause: unknown) {
    super('answer cut off');
    this.cause = cause;
  }
}

/** `Post "http://localhost/sync": …`, the reference's form of a request that failed. */
function connectError({ method, path, socket }: ControlCall, error: unknown): LitestreamError {
  const errno = osErrorCode(error);
  const verb = method === 'GET' ? 'Get' : 'Post';
  const details = { socket, ...(errno === undefined ? {} : { errno }) };
  let cause: string;
  if (error instanceof TimedOut) {
    cause = 'context deadline exceeded (Client.Timeout exceeded while awaiting headers)';
  } else if (errno === 'ECONNRESET' || errno === undefined) {
    cause = errno === undefined ? errorMessage(error) : 'EOF';
  } else {
    cause = `dial unix ${socket}: connect: ${osErrorText(errno)}`;
  }
  const text = `failed to connect to control socket: ${verb} "http://localhost${path}": ${cause}`;
  return new LitestreamError('ERR_IO', text, {
    cause: error,
    details,
    hint: 'is litestream replicate running with the control socket enabled (socket.enabled) at this path?',
  });
}

function readError(error: unknown): LitestreamError {
  if (!(error instanceof TimedOut)) return wrapError('failed to read response', error);
  const text =
    'context deadline exceeded (Client.Timeout or context cancellation while reading body)';
  return new LitestreamError('ERR_TIMEOUT', `failed to read response: ${text}`);
}

function send(call: ControlCall): Promise<Answer> {
  const { clock, method, path, socket, timeoutMs } = call;
  return new Promise((resolve, reject) => {
    const body = call.body === undefined ? undefined : JSON.stringify(call.body);
    const request = httpRequest(
      { socketPath: socket, method, path, agent: false, headers: headersFor(body) },
      (response) => {
        request.removeListener('error', reject);
        const cutOff = (error: unknown): void => reject(new CutOff(error));
        request.on('error', cutOff);
        const chunks: Buffer[] = [];
        let size = 0;
        response.on('data', (chunk: Buffer) => {
          size += chunk.length;
          if (size > RESPONSE_BYTES_MAX) request.destroy(new Error('response too large'));
          else chunks.push(chunk);
        });
        response.on('error', cutOff);
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString('utf8');
          resolve({ status: response.statusCode ?? 0, text });
        });
      },
    );
    const late = (): void => void request.destroy(new TimedOut());
    const timer = timeoutMs > 0 ? clock.timer(timeoutMs, late) : undefined;
    request.on('error', reject);
    request.on('close', () => timer?.cancel());
    request.end(body);
  });
}

function headersFor(body: string | undefined): Record<string, string> {
  if (body === undefined) return { host: 'localhost' };
  return {
    host: 'localhost',
    'content-type': 'application/json',
    'content-length': String(Buffer.byteLength(body)),
  };
}

function parse(text: string): Fields | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? { ...value } : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Asks a daemon over its control socket.
 *
 * @throws LitestreamError `ERR_IO` with the reference's texts: no daemon, no answer in time, or `<command> failed: …`
 *
 * Spec: cli 11.
 */
export async function askDaemon(call: ControlCall): Promise<Fields> {
  let answer: Answer;
  try {
    answer = await send(call);
  } catch (error) {
    throw error instanceof CutOff ? readError(error.cause) : connectError(call, error);
  }
  const fields = parse(answer.text);
  if (answer.status !== 200) {
    const said = fields?.['error'];
    const text = typeof said === 'string' ? said : answer.text.trim();
    throw new LitestreamError('ERR_IO', `${call.command} failed: ${text}`);
  }
  if (fields !== undefined) return fields;
  throw new LitestreamError('ERR_IO', `failed to parse response: ${answer.text.slice(0, 200)}`);
}

/** A text of an answer; empty if there is none. */
export function textOf(fields: Fields, name: string): string {
  const value = fields[name];
  return typeof value === 'string' ? value : '';
}

/** A number of an answer; 0 if there is none. */
export function numberOf(fields: Fields, name: string): number {
  const value = fields[name];
  return typeof value === 'number' ? value : 0;
}
