import { Agent, type ClientRequestArgs } from 'node:http';
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Connector } from './connector.ts';
import type { HttpTarget } from './types.ts';

/** Unused connections stay open for so long, or for what the server announces. */
const FREE_SOCKET_TIMEOUT_MS = 90_000;
const FREE_SOCKETS_MAX = 16;

export interface PoolOptions {
  readonly protocol: HttpTarget['protocol'];
  /** What the connections lead to. */
  readonly role: 'server' | 'proxy';
  readonly maxSockets: number;
}

/** Node's connection pool on top of a {@link Connector}: one pool for each kind of connection. */
export class PoolAgent extends Agent {
  readonly #connector: Connector;
  readonly #protocol: HttpTarget['protocol'];
  readonly #role: 'server' | 'proxy';

  constructor(connector: Connector, { protocol, role, maxSockets }: PoolOptions) {
    super({
      keepAlive: true,
      maxSockets,
      maxFreeSockets: FREE_SOCKETS_MAX,
      timeout: FREE_SOCKET_TIMEOUT_MS,
    });
    this.#connector = connector;
    this.#protocol = protocol;
    this.#role = role;
  }

  override createConnection(
    options: ClientRequestArgs,
    callback?: (error: Error | null, stream: Duplex) => void,
  ): undefined {
    const target = {
      protocol: this.#protocol,
      host: options.host ?? '',
      port: Number(options.port),
    };
    this.#connector.connect(target, this.#role).then(
      (socket) => callback?.(null, socket),
      (error: unknown) => {
        callback?.(error instanceof Error ? error : new Error(String(error)), new Socket());
      },
    );
    return undefined;
  }
}
