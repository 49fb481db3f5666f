import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { LitestreamError } from '../../lib/errors.ts';
import type { HttpResponse } from './types.ts';

export const TEXT_SIZE_MAX: number = 8 * 1024 * 1024;
/** A body that is given up is read to its end if that is no longer than this, to keep the connection. */
const DISCARD_SIZE_MAX = 64 * 1024;

/** What a response needs of the exchange that it belongs to. */
export interface BodyPorts {
  readonly where: string;
  /** Reading begins to wait for bytes, and has got some. */
  waiting(): void;
  received(): void;
  /** The whole body has been read. Resolves when the connection can be used again. */
  released(): Promise<void>;
  /** The body has been read or given up. */
  finished(): void;
  translate(error: unknown): unknown;
}

export class IncomingResponse implements HttpResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: AsyncIterable<Uint8Array>;
  readonly #message: IncomingMessage;
  readonly #ports: BodyPorts;

  constructor(message: IncomingMessage, ports: BodyPorts) {
    this.#message = message;
    this.#ports = ports;
    this.status = message.statusCode ?? 0;
    this.headers = plainHeaders(message.headers);
    this.body = this.#read();
  }

  text(limitBytes: number = TEXT_SIZE_MAX): Promise<string> {
    return textOf(this.body, this.#ports.where, limitBytes);
  }

  async discard(): Promise<void> {
    const announced = Number(this.headers['content-length'] ?? 0);
    let left = announced > DISCARD_SIZE_MAX ? 0 : DISCARD_SIZE_MAX;
    try {
      for await (const chunk of this.body) {
        left -= chunk.length;
        if (left < 0) break;
      }
    } catch {
      // Nobody wants these bytes.
    }
    if (!this.#message.readableEnded) this.#message.destroy();
    this.#ports.finished();
  }

  /** Leaving early closes the connection: its rest is unread. */
  async *#read(): AsyncGenerator<Uint8Array, void, undefined> {
    const ports = this.#ports;
    try {
      const chunks: AsyncIterator<unknown> = this.#message[Symbol.asyncIterator]();
      try {
        for (;;) {
          ports.waiting();
          const step = await chunks.next();
          ports.received();
          if (step.done === true) break;
          if (step.value instanceof Uint8Array && step.value.length > 0) yield plain(step.value);
        }
        if (!this.#message.complete) throw new Error('unexpected EOF');
        await ports.released();
      } catch (error) {
        throw ports.translate(error);
      } finally {
        await chunks.return?.();
      }
    } finally {
      ports.finished();
    }
  }
}

/** A whole body as UTF-8. */
export async function textOf(
  body: AsyncIterable<Uint8Array>,
  where: string,
  limitBytes: number,
): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    if (size > limitBytes) throw tooLong(where, limitBytes);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, size).toString('utf8');
}

function plainHeaders(headers: IncomingHttpHeaders): Record<string, string> {
  const plain: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined) plain[name] = Array.isArray(value) ? value.join(', ') : value;
  }
  return plain;
}

function tooLong(where: string, limit: number): LitestreamError {
  return new LitestreamError('ERR_STORAGE', `${where}: answer is longer than ${limit} bytes`, {
    details: { host: where, limit },
  });
}

/** Node's buffers are arrays with a behaviour of their own; callers get plain ones. */
function plain({ buffer, byteOffset, length }: Uint8Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, length);
}
