import { connectionError } from './errors.ts';
import type { PlainHead } from './plain-head.ts';
import { TEXT_SIZE_MAX, textOf } from './response.ts';
import type { HttpResponse } from './types.ts';

const CHUNK_BYTES = 64 * 1024;

/** What an answer needs of its connection. */
export interface DirectPorts {
  /** At least one byte, fewer than the target holds only if the connection is lost. @throws how it was lost */
  fill(target: Uint8Array): Promise<number>;
  /** The whole body has been read. */
  complete(): void;
  /** Nobody wants the rest. */
  giveUp(): void;
}

/** An answer 206 whose body is still on its way. */
export class DirectResponse implements HttpResponse {
  readonly status = 206;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: AsyncIterable<Uint8Array>;
  readonly #where: string;
  readonly #ports: DirectPorts;
  #left: number;
  #ended = false;

  constructor({ headers, size }: PlainHead, where: string, ports: DirectPorts) {
    this.headers = headers;
    this.#where = where;
    this.#ports = ports;
    this.#left = size;
    this.body = this.#chunks();
    this.#endIfRead();
  }

  async fill(target: Uint8Array): Promise<number> {
    const part = target.subarray(0, this.#left);
    if (part.length === 0) return 0;
    try {
      const count = await this.#ports.fill(part);
      this.#left -= count;
      this.#endIfRead();
      return count;
    } catch (error) {
      this.#giveUp();
      throw connectionError(this.#where, 'receive', error);
    }
  }

  text(limitBytes: number = TEXT_SIZE_MAX): Promise<string> {
    return textOf(this.body, this.#where, limitBytes);
  }

  discard(): Promise<void> {
    this.#giveUp();
    return Promise.resolve();
  }

  async *#chunks(): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      while (this.#left > 0) {
        const chunk = new Uint8Array(Math.min(CHUNK_BYTES, this.#left));
        const count = await this.fill(chunk);
        yield chunk.subarray(0, count);
      }
    } finally {
      this.#giveUp();
    }
  }

  #endIfRead(): void {
    if (this.#left > 0 || this.#ended) return;
    this.#ended = true;
    this.#ports.complete();
  }

  #giveUp(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#ports.giveUp();
  }
}
