import type { SFTPWrapper } from 'ssh2';
import { abortError, type Clock, type TimerHandle } from '../../../lib/clock.ts';
import { errorMessage, type LitestreamError } from '../../../lib/errors.ts';
import type { SftpChannel } from './connect.ts';
import { lostError, STATUS, SftpStatusError } from './errors.ts';

const GOODBYE_MS_MAX = 1000;

/** How an operation of the library reports its end. */
export type Done<T> = (error: Error | undefined | null, value?: T) => void;

export interface ConnectionOptions {
  readonly clock: Clock;
  /** `host:port`, for messages. */
  readonly host: string;
  /** Longest silence of the server while something is asked of it, in milliseconds. */
  readonly idleMs: number;
}

/**
 * One SSH connection with its SFTP channel. Every request ends: with the server's answer, when the connection is lost or silent, or
 * when its signal fires. The library alone forgets the requests of a connection that is gone.
 */
export class SftpConnection {
  readonly #channel: SftpChannel;
  readonly #clock: Clock;
  readonly #host: string;
  readonly #idleMs: number;
  /** How to end each request that waits for its answer. */
  readonly #waiting = new Set<(error: Error) => void>();
  #failure: LitestreamError | undefined;
  #heardAt = 0;
  #watch: TimerHandle | undefined;

  constructor(channel: SftpChannel, { clock, host, idleMs }: ConnectionOptions) {
    this.#channel = channel;
    this.#clock = clock;
    this.#host = host;
    this.#idleMs = idleMs;
    const { client, sftp } = channel;
    client.on('error', (error) => {
      this.#lose(errorMessage(error), error);
    });
    client.on('close', () => {
      this.#lose('closed by the server');
    });
    sftp.on('error', (error: Error) => {
      this.#lose(errorMessage(error), error);
    });
    for (const event of ['end', 'close'] as const) {
      sftp.on(event, () => {
        this.#lose('the server ended the sftp session');
      });
    }
  }

  /** Why it cannot be used any more. */
  get failure(): LitestreamError | undefined {
    return this.#failure;
  }

  /**
   * One request.
   *
   * @throws SftpStatusError if the server answers with a status; LitestreamError `ERR_STORAGE_TEMPORARY` if the connection is lost
   * before the answer, `ERR_ABORTED`.
   */
  call<T>(
    request: (sftp: SFTPWrapper, done: Done<T>) => void,
    signal?: AbortSignal,
  ): Promise<T | undefined> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) {
        reject(this.#failure);
        return;
      }
      if (signal?.aborted === true) {
        reject(abortError(signal));
        return;
      }
      const settle = (): void => {
        signal?.removeEventListener('abort', onAbort);
        this.#waiting.delete(fail);
      };
      const fail = (error: Error): void => {
        settle();
        reject(error);
      };
      const onAbort = (): void => {
        fail(abortError(signal));
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#expect(fail);
      const done: Done<T> = (error, value) => {
        this.#heardAt = this.#clock.monotonic();
        if (error === undefined || error === null) {
          settle();
          resolve(value);
        } else {
          this.#answered(error, fail);
        }
      };
      try {
        request(this.#channel.sftp, done);
      } catch (error) {
        // An extension that the server does not have.
        fail(new SftpStatusError(STATUS.unsupported, errorMessage(error)));
      }
    });
  }

  /** Says goodbye. What is still under way fails. */
  close(): void {
    if (this.#failure !== undefined) return;
    const { client, socket } = this.#channel;
    this.#fail(lostError(this.#host, 'the client was closed'));
    client.end();
    socket.destroySoon();
    // A network that takes nothing must not keep the process alive.
    const timer = this.#clock.timer(GOODBYE_MS_MAX, () => {
      socket.destroy();
    });
    socket.once('close', () => {
      timer.cancel();
    });
  }

  #answered(error: Error, fail: (error: Error) => void): void {
    const status = 'code' in error ? error.code : undefined;
    if (typeof status === 'number') fail(new SftpStatusError(status, error.message));
    // The library gives no number when the channel has ended under a request.
    else this.#lose(error.message, error);
  }

  #expect(fail: (error: Error) => void): void {
    if (this.#waiting.size === 0) this.#heardAt = this.#clock.monotonic();
    this.#waiting.add(fail);
    if (this.#watch === undefined) this.#watchSilence();
  }

  #watchSilence(): void {
    const left = this.#heardAt + this.#idleMs - this.#clock.monotonic();
    this.#watch = this.#clock.timer(left, () => {
      this.#watch = undefined;
      if (this.#waiting.size === 0) return;
      if (this.#clock.monotonic() - this.#heardAt < this.#idleMs) this.#watchSilence();
      else this.#lose(`no answer for ${this.#idleMs / 1000} s`);
    });
    this.#watch.unref?.();
  }

  #lose(reason: string, cause?: unknown): void {
    if (this.#failure !== undefined) return;
    this.#fail(lostError(this.#host, reason, cause));
    this.#channel.socket.destroy();
  }

  #fail(failure: LitestreamError): void {
    if (this.#failure !== undefined) return;
    this.#failure = failure;
    this.#watch?.cancel();
    for (const fail of this.#waiting) fail(failure);
  }
}
