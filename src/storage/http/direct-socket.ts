import type { OnReadOpts, Socket } from 'node:net';
import type { Clock } from '../../lib/clock.ts';
import { LitestreamError } from '../../lib/errors.ts';
import { silenceError } from './errors.ts';
import { IdleWatch } from './idle-watch.ts';

/** From so many bytes on that nobody has read, reading stops. */
const AHEAD_BYTES = 64 * 1024;
/** With TLS, what was received already still comes after that. */
const WINDOW_BYTES = 256 * 1024;
const SPARE_BYTES = 16 * 1024;
const HEAD_BYTES_MAX = 32 * 1024;
const HEAD_END = '\r\n\r\n';

/** Somebody who waits for bytes. */
interface Wanted {
  /** Absent: the head of an answer is waited for. */
  readonly target: Uint8Array | undefined;
  at: number;
  readonly resolve: (result: number) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Puts what a connection sends where the reader wants it: the system copies straight into the reader's memory, without a buffer, a
 * stream or a promise per packet. While nobody reads, a small window fills up; then the connection has to wait.
 */
export class DirectSocket {
  readonly #where: string;
  readonly #watch: IdleWatch;
  #awaited: 'answer' | 'receive' = 'answer';
  #idleTimeoutMs = 0;
  /** To open the socket with. */
  readonly onread: OnReadOpts = {
    buffer: () => this.#room(),
    callback: (count) => this.#received(count),
  };
  readonly #window = Buffer.alloc(WINDOW_BYTES);
  /** Part of the window that nobody has read yet. */
  #start = 0;
  #end = 0;
  /** Where the next bytes will lie in the window, or that they will lie in the reader's memory or in {@link #spare}. */
  #next: number | 'target' | 'spare' = 0;
  /** For bytes that come although the window is full. */
  #spare: Buffer | undefined;
  #wanted: Wanted | undefined;
  #socket: Socket | undefined;
  #paused = false;
  #lost: { readonly cause: unknown } | undefined;

  /** @param where - the server, for errors */
  constructor(clock: Clock, where: string) {
    this.#where = where;
    this.#watch = new IdleWatch(clock, () => {
      this.destroy(silenceError(this.#where, this.#awaited, this.#idleTimeoutMs));
    });
  }

  /** Takes the open socket over. */
  use(socket: Socket): void {
    this.#socket = socket;
    socket.on('error', (error) => this.#lose(error));
    socket.on('end', () => this.#lose(new Error('unexpected EOF')));
    socket.on('close', () => this.#lose(new Error('unexpected EOF')));
    // Whatever happened before could not be heard.
    if (socket.destroyed) this.#lose(new Error('unexpected EOF'));
  }

  /** False once the connection has failed or ended. */
  get usable(): boolean {
    return this.#lost === undefined && this.#socket !== undefined;
  }

  /** True if bytes are there that nobody has read. */
  get unread(): boolean {
    return this.#end > this.#start;
  }

  /** Whether the connection keeps the process alive. */
  hold(held: boolean): void {
    if (held) this.#socket?.ref();
    else this.#socket?.unref();
  }

  write(text: string): void {
    this.#socket?.write(text, 'latin1');
  }

  /** The head of an answer, without the empty line at its end. @throws how the connection was lost */
  async head(idleTimeoutMs: number): Promise<string> {
    this.#awaited = 'answer';
    const length = await this.#want(undefined, idleTimeoutMs);
    const text = this.#window.toString('latin1', this.#start, this.#start + length);
    this.#start += length + HEAD_END.length;
    return text;
  }

  /**
   * Fills the target, which must be left alone until then. Resolves with fewer bytes, at least one, only if the connection was lost
   * meanwhile. @throws how the connection was lost
   */
  fill(target: Uint8Array, idleTimeoutMs: number): Promise<number> {
    this.#awaited = 'receive';
    return this.#want(target, idleTimeoutMs);
  }

  /** Ends the connection. Nothing is written to any target any more. */
  destroy(cause: unknown): void {
    this.#socket?.destroy();
    this.#lose(cause);
  }

  #want(target: Uint8Array | undefined, idleTimeoutMs: number): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#wanted = { target, at: 0, resolve, reject };
      this.#serve();
      if (this.#lost !== undefined) {
        this.#fail(this.#lost.cause);
        return;
      }
      this.#resume();
      this.#idleTimeoutMs = idleTimeoutMs;
      if (this.#waiting) this.#watch.start(idleTimeoutMs);
    });
  }

  get #waiting(): boolean {
    return this.#wanted !== undefined;
  }

  /** Reads on as soon as the window is empty: that is where the next bytes go. */
  #resume(): void {
    if (!this.#paused || this.unread) return;
    this.#paused = false;
    this.#socket?.resume();
  }

  /** Where the next bytes go. */
  #room(): Uint8Array {
    const { at, target } = this.#wanted ?? { at: 0, target: undefined };
    if (target !== undefined && !this.unread) {
      this.#next = 'target';
      return Buffer.from(target.buffer, target.byteOffset + at, target.length - at);
    }
    this.#next = this.unread ? this.#end : 0;
    if (this.#next < WINDOW_BYTES) return this.#window.subarray(this.#next);
    this.#next = 'spare';
    return (this.#spare ??= Buffer.alloc(SPARE_BYTES));
  }

  /** Returns false to stop reading. */
  #received(count: number): boolean {
    this.#watch.touch();
    if (this.#next === 'target') {
      if (this.#wanted !== undefined) this.#wanted.at += count;
    } else if (this.#next === 'spare') {
      if (this.unread) {
        this.destroy(new Error('more bytes than there is room for'));
        return false;
      }
      this.#spare?.copy(this.#window, 0, 0, count);
      [this.#start, this.#end] = [0, count];
    } else {
      if (!this.unread) this.#start = this.#next;
      this.#end = this.#next + count;
    }
    this.#serve();
    this.#moveToFront();
    this.#paused = this.#end >= AHEAD_BYTES;
    return !this.#paused;
  }

  /** Or the head of an answer that begins at the end of the window would wait for its rest for ever. */
  #moveToFront(): void {
    this.#window.copyWithin(0, this.#start, this.#end);
    this.#end -= this.#start;
    this.#start = 0;
  }

  /** Gives what is there to whoever waits for it. */
  #serve(): void {
    const wanted = this.#wanted;
    if (wanted === undefined) return;
    const { target } = wanted;
    if (target === undefined) {
      this.#serveHead(wanted);
      return;
    }
    const count = Math.min(this.#end - this.#start, target.length - wanted.at);
    target.set(this.#window.subarray(this.#start, this.#start + count), wanted.at);
    this.#start += count;
    wanted.at += count;
    if (wanted.at === target.length) {
      this.#done();
      wanted.resolve(wanted.at);
    }
  }

  #serveHead(wanted: Wanted): void {
    const unread = this.#window.subarray(this.#start, this.#end);
    const length = unread.indexOf(HEAD_END, 0, 'latin1');
    if (length < 0 && unread.length <= HEAD_BYTES_MAX) return;
    this.#done();
    if (length >= 0) wanted.resolve(length);
    else wanted.reject(new LitestreamError('ERR_STORAGE', 'the head of the answer is too long'));
  }

  #lose(cause: unknown): void {
    this.#lost ??= { cause };
    this.#fail(this.#lost.cause);
  }

  #fail(cause: unknown): void {
    const wanted = this.#wanted;
    this.#done();
    if (wanted === undefined) return;
    if (wanted.at > 0) wanted.resolve(wanted.at);
    else wanted.reject(cause);
  }

  /** Nobody waits any more. */
  #done(): void {
    this.#wanted = undefined;
    this.#watch.stop();
  }
}
