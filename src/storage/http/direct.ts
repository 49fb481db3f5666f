import { abortError, type Clock, isAborted, throwIfAborted } from '../../lib/clock.ts';
import { isLitestreamError, LitestreamError } from '../../lib/errors.ts';
import { raceAbort } from '../streams.ts';
import type { Connector } from './connector.ts';
import { DirectResponse } from './direct-response.ts';
import { DirectSocket } from './direct-socket.ts';
import { parsePlainHead, requestText } from './plain-head.ts';
import { hostAndPort, type HttpRequest, type HttpResponse } from './types.ts';

/** Less than servers wait for the next request. */
const FREE_MS_MAX = 4000;
const FREE_SOCKETS_MAX = 16;

interface Free {
  readonly socket: DirectSocket;
  readonly since: number;
}

/**
 * Ranged downloads whose bodies go straight into the reader's memory: a fifth of the processor time of Node's HTTP. Only the plain
 * case is done here: an answer 206 with a length. Whatever else comes, the connection is closed, and the request is left to the
 * ordinary client, which knows how to say what is wrong.
 */
export class DirectDownloads {
  readonly #clock: Clock;
  readonly #connector: Connector;
  /** Idle connections by server. */
  readonly #free = new Map<string, Free[]>();
  #closed = false;

  constructor(clock: Clock, connector: Connector) {
    this.#clock = clock;
    this.#connector = connector;
  }

  /**
   * Sends a GET request with a `range`.
   *
   * @param headers - all of them
   * @returns undefined if it has to be sent the ordinary way
   * @throws LitestreamError `ERR_ABORTED`, `ERR_STORAGE_TEMPORARY` if no answer comes
   */
  async send(
    request: HttpRequest,
    headers: Readonly<Record<string, string>>,
    idleTimeoutMs: number,
  ): Promise<HttpResponse | undefined> {
    const text = requestText(request.path, headers);
    if (text === undefined) return undefined;
    for (let free = this.#take(request); free !== undefined; free = this.#take(request)) {
      const answer = await this.#exchange(free, request, text, idleTimeoutMs);
      // The server may have closed it a moment ago.
      if (answer !== 'lost') return answer;
    }
    const opened = await this.#open(request);
    if (opened === undefined) return undefined;
    const answer = await this.#exchange(opened, request, text, idleTimeoutMs);
    return answer === 'lost' ? undefined : answer;
  }

  close(): void {
    this.#closed = true;
    for (const { socket } of [...this.#free.values()].flat()) socket.destroy(abortError());
    this.#free.clear();
  }

  async #open({ target, signal }: HttpRequest): Promise<DirectSocket | undefined> {
    const socket = new DirectSocket(this.#clock, hostAndPort(target));
    const opening = this.#connector.connect(target, 'server', socket.onread);
    try {
      socket.use(await raceAbort(opening, signal));
      return socket;
    } catch {
      opening.then((late) => late.destroy(), ignore);
      throwIfAborted(signal);
      return undefined;
    }
  }

  /** @returns 'lost' if the connection ended before an answer, undefined for any answer but a plain one. */
  async #exchange(
    socket: DirectSocket,
    request: HttpRequest,
    text: string,
    idleTimeoutMs: number,
  ): Promise<HttpResponse | 'lost' | undefined> {
    const { target, signal } = request;
    const onAbort = (): void => socket.destroy(abortError(signal));
    const end = (cause: unknown): void => {
      signal?.removeEventListener('abort', onAbort);
      socket.destroy(cause);
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    if (isAborted(signal)) onAbort();
    else socket.write(text);
    let head: string;
    try {
      head = await socket.head(idleTimeoutMs);
    } catch (error) {
      end(error);
      throwIfAborted(signal);
      if (isLitestreamError(error, 'ERR_STORAGE_TEMPORARY')) throw error;
      return error instanceof LitestreamError ? undefined : 'lost';
    }
    const plain = parsePlainHead(head);
    if (plain === undefined) {
      end(new Error('not a plain answer'));
      return undefined;
    }
    return new DirectResponse(plain, hostAndPort(target), {
      fill: (bytes) => socket.fill(bytes, idleTimeoutMs),
      complete: () => {
        if (!plain.kept || !this.#give(request, socket)) end(new Error('connection closed'));
        else signal?.removeEventListener('abort', onAbort);
      },
      giveUp: () => end(new Error('connection closed')),
    });
  }

  #take({ target }: HttpRequest): DirectSocket | undefined {
    const free = this.#free.get(serverKey(target)) ?? [];
    for (let last = free.pop(); last !== undefined; last = free.pop()) {
      const { since, socket } = last;
      const fresh = this.#clock.monotonic() - since < FREE_MS_MAX;
      if (fresh && socket.usable && !socket.unread) {
        socket.hold(true);
        return socket;
      }
      socket.destroy(new Error('connection closed'));
    }
    return undefined;
  }

  #give({ target }: HttpRequest, socket: DirectSocket): boolean {
    const key = serverKey(target);
    const free = this.#free.get(key) ?? [];
    if (this.#closed || !socket.usable || socket.unread) return false;
    if (free.length >= FREE_SOCKETS_MAX) return false;
    socket.hold(false);
    free.push({ socket, since: this.#clock.monotonic() });
    this.#free.set(key, free);
    return true;
  }
}

function serverKey(target: HttpRequest['target']): string {
  return `${target.protocol}//${hostAndPort(target)}`;
}

function ignore(): void {
  // Nobody waits for this connection any more.
}
