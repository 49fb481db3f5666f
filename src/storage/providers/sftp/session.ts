import type ssh2 from 'ssh2';
import { type Clock, throwIfAborted } from '../../../lib/clock.ts';
import { LitestreamError } from '../../../lib/errors.ts';
import type { Logger } from '../../../telemetry/index.ts';
import { raceAbort } from '../../streams.ts';
import { optionalPackage } from '../../optional-package.ts';
import { connect } from './connect.ts';
import { SftpConnection } from './connection.ts';
import { isLost } from './errors.ts';
import { hostOf, type SftpSettings } from './settings.ts';

/** Longest time to a usable connection: TCP, handshake, login and the SFTP channel. */
export const CONNECT_MS_MAX = 30_000;
/** Longest silence of the server while something is asked of it. */
export const IDLE_MS_MAX = 30_000;

export interface SessionPorts {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly connectMs?: number | undefined;
  readonly idleMs?: number | undefined;
}

/** The one connection of a client: made when it is first needed, forgotten when it is lost, shared by all operations. */
export class SftpSession {
  readonly #settings: SftpSettings;
  readonly #ports: SessionPorts;
  #current: SftpConnection | undefined;
  #connecting: Promise<SftpConnection> | undefined;
  #attempt: AbortController | undefined;
  #hasWarned = false;

  constructor(settings: SftpSettings, ports: SessionPorts) {
    this.#settings = settings;
    this.#ports = ports;
  }

  /** `host:port`. */
  get host(): string {
    return hostOf(this.#settings);
  }

  /**
   * Does something over the connection; once more over a new one if the connection is lost on the way. Whatever it is has to bear
   * being done twice.
   */
  async run<T>(
    operation: (connection: SftpConnection) => Promise<T>,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    try {
      return await operation(await this.connection(signal));
    } catch (error) {
      if (!isLost(error)) throw error;
      throwIfAborted(signal);
      this.#ports.logger.log('debug', 'sftp connection lost, reconnecting', {
        host: this.host,
        error: error instanceof Error ? error : undefined,
      });
      return await operation(await this.connection(signal));
    }
  }

  /** The connection, made if need be. An abort leaves the attempt to whoever else waits for it. */
  connection(signal: AbortSignal | undefined): Promise<SftpConnection> {
    if (this.#current !== undefined && this.#current.failure === undefined) {
      return Promise.resolve(this.#current);
    }
    this.#connecting ??= this.#connect().finally(() => {
      this.#connecting = undefined;
    });
    return raceAbort(this.#connecting, signal);
  }

  /** Ends the connection, or the attempt to make one. A later operation makes a new one. */
  close(): void {
    this.#attempt?.abort(new LitestreamError('ERR_ABORTED', 'sftp: the client was closed'));
    this.#current?.close();
    this.#current = undefined;
  }

  async #connect(): Promise<SftpConnection> {
    const { clock, logger, connectMs = CONNECT_MS_MAX, idleMs = IDLE_MS_MAX } = this.#ports;
    const library = await loadLibrary();
    const attempt = new AbortController();
    const timer = clock.timer(connectMs, () => {
      attempt.abort(tooSlow(this.host, connectMs));
    });
    this.#attempt = attempt;
    try {
      const channel = await connect(library, {
        settings: this.#settings,
        logger,
        signal: attempt.signal,
        onUnverified: (hostKey) => {
          this.#warn(hostKey);
        },
      });
      this.#current = new SftpConnection(channel, { clock, host: this.host, idleMs });
      return this.#current;
    } finally {
      timer.cancel();
    }
  }

  #warn(hostKey: string): void {
    if (this.#hasWarned) return;
    this.#hasWarned = true;
    this.#ports.logger.log('warn', 'sftp host key not verified', {
      host: this.host,
      hostKey,
      hint: 'anybody on the way could pose as the server: check this key and set host-key to it',
    });
  }
}

async function loadLibrary(): Promise<typeof ssh2> {
  const { default: library } = await optionalPackage(() => import('ssh2'), 'sftp replicas', 'ssh2');
  return library;
}

function tooSlow(host: string, ms: number): LitestreamError {
  return new LitestreamError(
    'ERR_STORAGE_TEMPORARY',
    `sftp: ${host}: cannot connect: no connection after ${ms / 1000} s`,
    {
      retryable: true,
      details: { host, timeoutMs: ms },
      hint: 'check the network, the firewall and the load of the server',
    },
  );
}
