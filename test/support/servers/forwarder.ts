import { connect, createServer, type Server, type Socket } from 'node:net';
import { reset } from './reset.ts';
import type { Scope } from './scope.ts';
import { freePort } from './server-process.ts';

/** A TCP forwarder in front of a server on the loopback, which can break what passes. For protocols that are not HTTP. */
export class Forwarder {
  readonly port: number;
  /** The server behind it, on 127.0.0.1. May change. */
  upstream: number;
  /** Connections that were ever passed on. */
  connections = 0;
  /** Bytes that went in both directions. */
  bytes = 0;
  #server: Server | undefined;
  #stalled = false;
  /** Bytes until everything is cut. */
  #fuse = Infinity;
  #nextFuse = Infinity;
  readonly #sockets = new Set<Socket>();

  private constructor(port: number, upstream: number) {
    this.port = port;
    this.upstream = upstream;
  }

  static async start(scope: Scope, upstream: number): Promise<Forwarder> {
    const forwarder = new Forwarder(await freePort(), upstream);
    await forwarder.accept();
    scope.after(() => forwarder.refuse());
    return forwarder;
  }

  /** Connections that are open. */
  get open(): number {
    return this.#sockets.size / 2;
  }

  /** Resets all connections; new ones are accepted. */
  cut(): void {
    for (const socket of this.#sockets) reset(socket);
  }

  /** {@link cut}, once so many more bytes have passed, both directions together. `Infinity` for never. */
  cutAfter(bytes: number): void {
    this.#fuse = bytes;
    this.#nextFuse = Infinity;
  }

  /** {@link cutAfter}, again and again. */
  cutEvery(bytes: number): void {
    this.#fuse = bytes;
    this.#nextFuse = bytes;
  }

  /** From now on not a byte passes, in connections old and new: a network that swallows everything. */
  stall(): void {
    this.#stalled = true;
    for (const socket of this.#sockets) socket.pause();
  }

  /** Ends {@link stall}; nothing that was sent is lost. */
  resume(): void {
    this.#stalled = false;
    for (const socket of this.#sockets) socket.resume();
  }

  /** Resets all connections and refuses new ones: a server that is down. */
  async refuse(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    const closed = new Promise((resolve) => {
      if (server === undefined) resolve(undefined);
      else server.close(resolve);
    });
    this.cut();
    await closed;
  }

  /** Ends {@link refuse}. */
  async accept(): Promise<void> {
    if (this.#server !== undefined) return;
    const server = createServer({ pauseOnConnect: true }, (client) => {
      this.#pass(client);
    });
    this.#server = server;
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(this.port, '127.0.0.1', resolve);
    });
  }

  #pass(client: Socket): void {
    this.connections += 1;
    const up = connect(this.upstream, '127.0.0.1');
    this.#link(client, up);
    this.#link(up, client);
  }

  #link(from: Socket, to: Socket): void {
    this.#sockets.add(from);
    from.setNoDelay(true);
    from.on('data', (chunk) => {
      this.#relay(chunk, from, to);
    });
    from.on('end', () => {
      to.end();
    });
    // A server that is not there looks to the client like one that hangs up.
    from.on('error', () => {
      reset(to);
    });
    from.on('close', () => {
      this.#sockets.delete(from);
      to.destroySoon();
    });
    if (this.#stalled) from.pause();
    else from.resume();
  }

  #relay(chunk: Buffer, from: Socket, to: Socket): void {
    this.bytes += chunk.length;
    this.#fuse -= chunk.length;
    if (this.#fuse <= 0) {
      this.#fuse = this.#nextFuse;
      this.cut();
      return;
    }
    if (to.write(chunk)) return;
    from.pause();
    to.once('drain', () => {
      if (!this.#stalled) from.resume();
    });
  }
}
