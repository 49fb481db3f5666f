import type { ClientRequest, IncomingMessage } from 'node:http';
import { abortError, type Clock } from '../../lib/clock.ts';
import { LitestreamError } from '../../lib/errors.ts';
import { abortable } from '../streams.ts';
import { connectionError, type ConnectionPhase, silenceError } from './errors.ts';
import { IdleWatch } from './idle-watch.ts';
import { IncomingResponse } from './response.ts';
import type { HttpBodySource, HttpRequest, HttpResponse } from './types.ts';

/** Bodies are handed over in pieces of this size, so that a slow line shows signs of life. */
const PIECE_SIZE = 64 * 1024;
/** What the system may still hold when the last byte has been handed over, and how slowly it may leave. */
const SYSTEM_BUFFER_SIZE = 4 * 1024 * 1024;
const SLOWEST_BYTES_PER_MS = 64;

export interface ExchangeOptions {
  readonly clock: Clock;
  /** Server as it is named in errors. */
  readonly where: string;
  readonly idleTimeoutMs: number;
}

/** One request and its response on a connection. Ends by itself: every wait has a limit. */
export class Exchange {
  readonly #wire: ClientRequest;
  readonly #request: HttpRequest;
  readonly #where: string;
  readonly #idleTimeoutMs: number;
  readonly #watch: IdleWatch;
  /** Ends the sending of the body. */
  readonly #stopSending = new AbortController();
  #phase: ConnectionPhase = 'connect';
  #awaited: 'send' | 'answer' | 'receive' = 'send';
  #awaitedMs = 0;
  /** Why this side has given the connection up. */
  #reason: LitestreamError | undefined;
  /** How the connection was lost. */
  #lost: unknown;
  /** Why the body could not be had. */
  #sourceFailure: unknown;
  #bodySent = false;
  #closed = false;
  #message: IncomingMessage | undefined;

  constructor(wire: ClientRequest, request: HttpRequest, options: ExchangeOptions) {
    this.#wire = wire;
    this.#request = request;
    this.#where = options.where;
    this.#idleTimeoutMs = request.idleTimeoutMs ?? options.idleTimeoutMs;
    this.#watch = new IdleWatch(options.clock, () => {
      this.#giveUp(silenceError(this.#where, this.#awaited, this.#awaitedMs));
    });
  }

  /** True if the server closed a connection of the pool before it can have seen the request. */
  get stale(): boolean {
    if (this.#message !== undefined || this.#reason !== undefined) return false;
    return this.#wire.reusedSocket && this.#sourceFailure === undefined;
  }

  async run(): Promise<HttpResponse> {
    const { signal } = this.#request;
    signal?.addEventListener('abort', this.#onAbort, { once: true });
    try {
      const answer = this.#answer();
      const sent = this.#send();
      const message = await this.#firstOf(answer, sent);
      if ((message.statusCode ?? 0) < 300) await sent;
      this.#stopSending.abort();
      this.#watch.stop();
      return this.#response(message);
    } catch (error) {
      const translated = this.#translate(error);
      this.#finish();
      this.#destroy();
      throw translated;
    }
  }

  readonly #onAbort = (): void => {
    this.#giveUp(abortError(this.#request.signal));
  };

  #giveUp(reason: LitestreamError): void {
    this.#reason ??= reason;
    this.#watch.stop();
    this.#destroy(reason);
  }

  #destroy(reason?: LitestreamError): void {
    if (this.#message === undefined) this.#wire.destroy(reason);
    else this.#message.destroy(reason);
  }

  #lose(error: unknown): void {
    this.#lost ??= error;
    this.#stopSending.abort();
  }

  #answer(): Promise<IncomingMessage> {
    const wire = this.#wire;
    return new Promise((resolve, reject) => {
      wire.once('response', (message) => {
        this.#message = message;
        message.on('error', (error) => this.#lose(error));
        resolve(message);
      });
      // Stays: an error may also come after the answer.
      wire.on('error', (error) => {
        this.#lose(error);
        reject(error);
      });
      wire.once('close', () => {
        this.#closed = true;
        const closed = Object.assign(new Error('connection closed'), { code: 'ECONNRESET' });
        this.#lose(closed);
        reject(closed);
      });
      wire.once('information', () => this.#watch.touch());
    });
  }

  /** Resolves when every byte has been handed to the system. */
  async #send(): Promise<void> {
    const { body } = this.#request;
    if (body instanceof Uint8Array || body === undefined) await this.#sendBytes(body);
    else await this.#sendStream(body);
    this.#bodySent = true;
  }

  async #sendBytes(body: Uint8Array | undefined): Promise<void> {
    if (body === undefined || body.length <= PIECE_SIZE) {
      // In one packet with the header.
      if (body === undefined || body.length === 0) this.#wire.end();
      else this.#wire.end(body);
      await this.#connected();
      this.#awaitAnswer(body?.length ?? 0);
      return;
    }
    await this.#connected();
    await this.#write(body);
    this.#wire.end();
    this.#awaitAnswer(body.length);
  }

  async #sendStream(body: HttpBodySource): Promise<void> {
    await this.#connected();
    const stop = this.#stopSending.signal;
    let size = 0;
    for await (const chunk of abortable(body.stream(stop), stop)) {
      size += chunk.length;
      if (size > body.size) throw wrongSize(body.size, size);
      await this.#write(chunk);
    }
    if (size < body.size) throw wrongSize(body.size, size);
    this.#wire.end();
    this.#awaitAnswer(size);
  }

  /** Waits for a connection, which has a limit of its own. */
  async #connected(): Promise<void> {
    const wire = this.#wire;
    if (wire.socket === null) await this.#event('socket');
    this.#phase = 'send';
  }

  async #write(chunk: Uint8Array): Promise<void> {
    for (let at = 0; at < chunk.length; at += PIECE_SIZE) {
      if (this.#wire.write(chunk.subarray(at, at + PIECE_SIZE))) continue;
      this.#await('send', this.#idleTimeoutMs);
      await this.#event('drain');
      this.#watch.stop();
    }
  }

  /** @throws when sending is to stop. */
  #event(name: 'drain' | 'socket'): Promise<void> {
    const stop = this.#stopSending.signal;
    return new Promise((resolve, reject) => {
      const onStop = (): void => {
        this.#wire.off(name, onEvent);
        reject(abortError(stop));
      };
      const onEvent = (): void => {
        stop.removeEventListener('abort', onStop);
        resolve();
      };
      if (stop.aborted) onStop();
      else {
        stop.addEventListener('abort', onStop, { once: true });
        this.#wire.once(name, onEvent);
      }
    });
  }

  /** Nobody tells how much of the body is still on its way, so a large one gets more time. */
  #awaitAnswer(bodySize: number): void {
    if (this.#message !== undefined) return;
    const underWayMs = Math.min(bodySize, SYSTEM_BUFFER_SIZE) / SLOWEST_BYTES_PER_MS;
    this.#await('answer', this.#idleTimeoutMs + Math.round(underWayMs));
  }

  #await(what: 'send' | 'answer' | 'receive', limitMs: number): void {
    this.#awaited = what;
    this.#awaitedMs = limitMs;
    this.#watch.start(limitMs);
  }

  #response(message: IncomingMessage): HttpResponse {
    this.#phase = 'receive';
    return new IncomingResponse(message, {
      where: this.#where,
      waiting: () => this.#await('receive', this.#idleTimeoutMs),
      received: () => this.#watch.stop(),
      released: () => this.#released(),
      finished: () => this.#finish(),
      translate: (error) => this.#translate(error),
    });
  }

  /** Node gives a connection back a little after the end of the body. Without this the next request would open another. */
  #released(): Promise<void> {
    const wire = this.#wire;
    if (this.#closed || !wire.shouldKeepAlive || !wire.writableFinished) return Promise.resolve();
    return new Promise((resolve) => {
      wire.once('close', () => resolve());
    });
  }

  #finish(): void {
    this.#watch.stop();
    this.#stopSending.abort();
    this.#request.signal?.removeEventListener('abort', this.#onAbort);
    // The server has answered before it had everything: the rest of the body cannot be taken back.
    if (!this.#bodySent) this.#destroy();
  }

  #translate(error: unknown): unknown {
    if (this.#reason !== undefined) return this.#reason;
    if (this.#sourceFailure !== undefined) return this.#sourceFailure;
    return connectionError(this.#where, this.#phase, this.#lost ?? error);
  }

  /** The answer; or, if the body cannot be had, that failure. */
  #firstOf(answer: Promise<IncomingMessage>, sent: Promise<void>): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      answer.then(resolve, reject);
      sent.catch((error: unknown) => {
        // A stop: the answer is there, or its failure tells more.
        if (this.#stopSending.signal.aborted) return;
        this.#sourceFailure = error;
        reject(toError(error));
      });
    });
  }
}

function toError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

function wrongSize(expected: number, found: number): LitestreamError {
  const relation = found > expected ? 'at least ' : '';
  return new LitestreamError(
    'ERR_STORAGE',
    `source has ${relation}${found} bytes, expected ${expected}`,
    { details: { expected, found } },
  );
}
