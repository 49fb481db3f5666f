import type { JetStreamClient, JetStreamManager } from '@nats-io/jetstream';
import type * as JetStream from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/transport-node';
import type * as Transport from '@nats-io/transport-node';
import { type Clock, sleep } from '../../../lib/clock.ts';
import { type ErrorCode, errorMessage, LitestreamError, wrapError } from '../../../lib/errors.ts';
import type { FileSystem } from '../../../lib/file-system.ts';
import type { Logger } from '../../../telemetry/index.ts';
import type { NatsLocation } from '../../locations.ts';
import { raceAbort } from '../../streams.ts';
import { connectionOptions } from './connection-options.ts';
import { connectionLost, storageError } from './errors.ts';

/** A polite end is waited for so long. */
const CLOSE_MS_MAX = 2000;

const DENIED_HINT = 'check user, password, token or credentials file';
const CERTIFICATE_HINT = 'give the authority that signed the certificate in root-cas';
const CLIENT_CERTIFICATE_HINT = 'the server may demand a certificate: client-cert and client-key';
const SERVER_HINT = 'check that the server is running, and its address and port';

/** The libraries, loaded. */
export interface NatsSdk {
  readonly transport: typeof Transport;
  readonly jetstream: typeof JetStream;
}

export interface ConnectionPorts {
  readonly sdk: NatsSdk;
  readonly clock: Clock;
  readonly fileSystem: FileSystem;
  readonly logger: Logger;
}

/** What operations work with, from one connect or reconnect to the next loss. */
export interface Session {
  readonly sdk: NatsSdk;
  readonly connection: NatsConnection;
  readonly publisher: JetStreamClient;
  readonly manager: JetStreamManager;
  readonly bucket: string;
  /** `OBJ_<bucket>` */
  readonly stream: string;
  /** Milliseconds that an answer may take. */
  readonly timeoutMs: number;
  /** Fires when the connection is lost, or closed. */
  readonly lost: AbortSignal;
}

/** One connection with its current state. */
interface Link {
  readonly connection: NatsConnection;
  /** Set while connected. */
  session: Session | undefined;
  /** Resolves when connected again, or when the library has given up. */
  back: PromiseWithResolvers<void>;
}

function hostOf(url: string): string {
  return url.replace(/^\w+:\/\//, '');
}

/** One connection to a server, made when it is needed, and made again when it is gone for good. */
export class Connection {
  readonly #location: NatsLocation;
  readonly #ports: ConnectionPorts;
  readonly #host: string;
  #link: Promise<Link> | undefined;
  #closed = false;

  constructor(location: NatsLocation, ports: ConnectionPorts) {
    this.#location = location;
    this.#ports = ports;
    this.#host = hostOf(location.url);
  }

  /**
   * The connected session. Waits for a connection that is being made again, no longer than a connect may take.
   *
   * @throws LitestreamError `nats: failed to connect: …`, `nats: failed to initialize object store: …`
   */
  async session(signal: AbortSignal | undefined): Promise<Session> {
    if (this.#closed) throw new LitestreamError('ERR_ABORTED', 'nats: the client is closed');
    const link = await raceAbort((this.#link ??= this.#open()), signal);
    if (link.session === undefined) await this.#reconnected(link, signal);
    const { session } = link;
    if (session === undefined) throw connectionLost(this.#host);
    return session;
  }

  /** Waits for the library to connect again, no longer than a connect may take. */
  async #reconnected({ back }: Link, signal: AbortSignal | undefined): Promise<void> {
    const wait = new AbortController();
    const bound = AbortSignal.any([wait.signal, ...(signal === undefined ? [] : [signal])]);
    try {
      const timeout = sleep(this.#ports.clock, this.#location.timeoutMs, bound);
      await Promise.race([back.promise, timeout]);
    } finally {
      wait.abort();
    }
  }

  /** Ends the connection, and with it every operation. Does not wait for long. */
  async close(): Promise<void> {
    this.#closed = true;
    const link = this.#link;
    this.#link = undefined;
    if (link === undefined) return;
    const wait = new AbortController();
    const ending = link.then(
      ({ connection }) => connection.close(),
      () => {
        // It was never made.
      },
    );
    try {
      await Promise.race([ending, sleep(this.#ports.clock, CLOSE_MS_MAX, wait.signal)]);
    } finally {
      wait.abort();
    }
  }

  #open(): Promise<Link> {
    const opening = this.#connect();
    opening.then(
      async ({ connection }) => {
        await connection.closed();
        this.#forget(opening);
      },
      () => this.#forget(opening),
    );
    return opening;
  }

  /** The next operation connects anew. */
  #forget(link: Promise<Link>): void {
    if (this.#link === link) this.#link = undefined;
  }

  async #connect(): Promise<Link> {
    const { sdk, fileSystem } = this.#ports;
    let connection: NatsConnection;
    try {
      const ports = { sdk: sdk.transport, fileSystem };
      connection = await sdk.transport.connect(await connectionOptions(this.#location, ports));
    } catch (error) {
      throw this.#refused(error);
    }
    const link: Link = { connection, session: undefined, back: Promise.withResolvers() };
    const watching = this.#watch(link);
    watching.catch(() => {
      // The iteration over states has no errors of its own.
    });
    try {
      await this.#findBucket(connection);
    } catch (error) {
      await connection.close();
      throw error;
    }
    return link;
  }

  async #findBucket(connection: NatsConnection): Promise<void> {
    const { jetstream } = this.#ports.sdk;
    const { bucket, timeoutMs } = this.#location;
    try {
      const options = { timeout: timeoutMs, checkAPI: false };
      const manager = await jetstream.jetstreamManager(connection, options);
      await manager.streams.info(`OBJ_${bucket}`);
    } catch (error) {
      const prefix = `nats: failed to initialize object store: failed to access object store bucket "${bucket}" (bucket must be created beforehand)`;
      throw wrapError(prefix, storageError(error));
    }
  }

  /** Keeps {@link Link.session} in step with the connection. */
  async #watch(link: Link): Promise<void> {
    const { connection } = link;
    const { logger } = this.#ports;
    const states = connection.status();
    let lost = await this.#connected(link);
    for await (const { type } of states) {
      if (type === 'disconnect' || type === 'close') {
        logger.log('debug', 'nats: disconnected', { server: this.#host });
        link.session = undefined;
        lost.abort(connectionLost(this.#host));
      } else if (type === 'reconnect') {
        logger.log('debug', 'nats: reconnected', { server: this.#host });
        lost = await this.#connected(link);
      }
    }
    lost.abort(connectionLost(this.#host));
    link.session = undefined;
    link.back.resolve();
  }

  async #connected(link: Link): Promise<AbortController> {
    const { sdk } = this.#ports;
    const { bucket, timeoutMs } = this.#location;
    const { connection } = link;
    const options = { timeout: timeoutMs, checkAPI: false };
    const lost = new AbortController();
    link.session = {
      sdk,
      connection,
      bucket,
      timeoutMs,
      publisher: sdk.jetstream.jetstream(connection, options),
      manager: await sdk.jetstream.jetstreamManager(connection, options),
      stream: `OBJ_${bucket}`,
      lost: lost.signal,
    };
    link.back.resolve();
    link.back = Promise.withResolvers();
    return lost;
  }

  #refused(error: unknown): LitestreamError {
    if (error instanceof LitestreamError) return error;
    const text = errorMessage(error);
    const { code: kind } = storageError(error);
    const { code, reason, hint } =
      kind === 'ERR_STORAGE_DENIED'
        ? { code: kind, reason: capitalised(text), hint: DENIED_HINT }
        : this.#unreachable(error, text);
    const message = `nats: failed to connect: failed to connect to NATS server: nats: ${reason}`;
    return new LitestreamError(code, message, {
      cause: error,
      retryable: code === 'ERR_STORAGE_TEMPORARY',
      details: { host: this.#host },
      hint,
    });
  }

  #unreachable(
    error: unknown,
    text: string,
  ): { readonly code: ErrorCode; readonly reason: string; readonly hint: string } {
    if (/certificate|CERT|self.signed/.test(text)) {
      return { code: 'ERR_STORAGE', reason: text, hint: CERTIFICATE_HINT };
    }
    const name = error instanceof Error ? error.name : '';
    const nobody = name === 'ConnectionError' || name === 'TimeoutError';
    return {
      code: 'ERR_STORAGE_TEMPORARY',
      reason: nobody ? `no servers available for connection: ${text}` : text,
      // With TLS 1.3 a server that misses our certificate says so when nobody listens any more.
      hint:
        name === 'TimeoutError' && this.#location.tls && this.#location.clientCert === ''
          ? CLIENT_CERTIFICATE_HINT
          : SERVER_HINT,
    };
  }
}

/** As the server writes it: `Authorization Violation`. */
function capitalised(text: string): string {
  return text.replace(/\b[a-z]/g, (letter) => letter.toUpperCase());
}
