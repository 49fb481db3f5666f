import { readFile } from 'node:fs/promises';
import { connect as connectSocket, type Socket } from 'node:net';
import type ssh2 from 'ssh2';
import type { AnyAuthMethod, Client, SFTPWrapper } from 'ssh2';
import { errorMessage, LitestreamError } from '../../../lib/errors.ts';
import { osErrorCode, osErrorText } from '../../../lib/os-error.ts';
import type { Logger } from '../../../telemetry/index.ts';
import { algorithmsFor, formatHostKey, keyType, type PinnedKey } from './host-key.ts';
import { hostOf, type SftpSettings } from './settings.ts';

/** An open SFTP channel and the connection it runs over. */
export interface SftpChannel {
  readonly client: Client;
  readonly sftp: SFTPWrapper;
  readonly socket: Socket;
}

export interface ConnectPorts {
  readonly settings: SftpSettings;
  readonly logger: Logger;
  /** Ends the attempt; its reason becomes the error. */
  readonly signal: AbortSignal;
  /** Tells of a server whose key nobody has checked. */
  readonly onUnverified: (hostKey: string) => void;
}

const KEEP_ALIVE_MS = 15_000;
const KEEP_ALIVE_MISSES_MAX = 3;

/**
 * Logs in and opens the SFTP channel. The password is sent only after the host key has been checked.
 *
 * @throws LitestreamError `ERR_STORAGE_TEMPORARY` if there is no connection, `ERR_STORAGE_DENIED` if the server refuses the login or
 * is not the one that is expected.
 */
export async function connect(library: typeof ssh2, ports: ConnectPorts): Promise<SftpChannel> {
  const methods = await authMethods(library, ports.settings);
  for (let pins = ports.settings.hostKeys; ;) {
    const handshake = new Handshake(library, ports, { methods, pins });
    try {
      return await handshake.run();
    } catch (error) {
      // The server shows one of its keys. Another pinned kind may be the one.
      const rest = pins.filter(({ type }) => type !== handshake.refusedType);
      if (handshake.refusedType === undefined || rest.length === 0) throw error;
      pins = rest;
    }
  }
}

/** What one attempt goes by. */
interface Credentials {
  readonly methods: readonly AnyAuthMethod[];
  /** Keys of the server; empty = any. */
  readonly pins: readonly PinnedKey[];
}

class Handshake {
  readonly #ports: ConnectPorts;
  readonly #client: Client;
  readonly #credentials: Credentials;
  /** Names of the methods that were tried, as the reference gives them. */
  readonly #tried: string[] = [];
  #at = 0;
  /** The key that was refused. */
  #refusedKey: Buffer | undefined;
  #agentError: Error | undefined;

  constructor(library: typeof ssh2, ports: ConnectPorts, credentials: Credentials) {
    this.#ports = ports;
    this.#client = new library.Client();
    this.#credentials = credentials;
  }

  /** Kind of the key that was refused. */
  get refusedType(): string | undefined {
    return this.#refusedKey && keyType(this.#refusedKey);
  }

  run(): Promise<SftpChannel> {
    const { settings, signal, logger } = this.#ports;
    const { host, port, user } = settings;
    const { pins } = this.#credentials;
    const client = this.#client;
    const socket = connectSocket({ host, port, noDelay: true });
    return new Promise((resolve, reject) => {
      const fail = (error: unknown): void => {
        signal.removeEventListener('abort', onAbort);
        reject(this.#explain(error));
        socket.destroy();
      };
      const onAbort = (): void => {
        fail(signal.reason);
      };
      signal.addEventListener('abort', onAbort, { once: true });
      client.on('error', (error: Error & { level?: string }) => {
        // The next method is tried after a failure of the agent.
        if (error.level === 'agent') this.#agentError = error;
        else fail(error);
      });
      client.once('close', () => {
        fail(new Error('connection closed by the server'));
      });
      client.on('banner', (banner) => {
        logger.log('debug', 'sftp server banner', { host: hostOf(settings), banner });
      });
      client.once('ready', () => {
        client.sftp((error, sftp) => {
          if (error !== undefined) {
            fail(error);
            return;
          }
          signal.removeEventListener('abort', onAbort);
          resolve({ client, sftp, socket });
        });
      });
      client.connect({
        sock: socket,
        username: user,
        authHandler: (accepted, _partial, next) => {
          const method = this.#nextMethod(accepted);
          if (method === undefined) fail(this.#refusedLogin());
          else next(method);
        },
        hostVerifier: (key: Buffer) => this.#verify(key),
        ...(pins.length > 0 && { algorithms: { serverHostKey: algorithmsFor(pins) } }),
        keepaliveInterval: KEEP_ALIVE_MS,
        keepaliveCountMax: KEEP_ALIVE_MISSES_MAX,
        readyTimeout: 0, // the signal bounds it, the SFTP channel included
      });
    });
  }

  #verify(key: Buffer): boolean {
    const { pins } = this.#credentials;
    if (pins.length === 0) {
      this.#ports.onUnverified(formatHostKey(key));
      return true;
    }
    if (pins.some(({ blob }) => blob.equals(key))) return true;
    this.#refusedKey = key;
    return false;
  }

  /** The next method that the server accepts; undefined when all have failed. */
  #nextMethod(accepted: readonly string[] | null): AnyAuthMethod | undefined {
    for (;;) {
      const method = this.#credentials.methods[this.#at];
      if (method === undefined) return undefined;
      this.#at += 1;
      const name = method.type === 'agent' ? 'publickey' : method.type;
      if (accepted !== null && !accepted.includes(name)) continue;
      this.#tried.push(name);
      return method;
    }
  }

  /** Why there is no connection, in the reference's words where it has some. */
  #explain(error: unknown): LitestreamError {
    if (error instanceof LitestreamError) return error;
    const host = hostOf(this.#ports.settings);
    const level = error instanceof Error && 'level' in error ? error.level : undefined;
    const message = errorMessage(error);
    const details = { host };
    if (this.#refusedKey !== undefined || message.includes('no matching host key')) {
      const found =
        this.#refusedKey === undefined
          ? 'the server has no key of a pinned type'
          : `the server has ${formatHostKey(this.#refusedKey)}`;
      return new LitestreamError(
        'ERR_STORAGE_DENIED',
        `sftp: ${host}: ssh: handshake failed: ssh: host key mismatch: ${found}`,
        {
          cause: error,
          details,
          hint: 'find out why the key differs before changing host-key: it may be another machine',
        },
      );
    }
    if (level === 'client-authentication') return this.#refusedLogin(error);
    const errno = osErrorCode(error) ?? '';
    const reason = errno.startsWith('E') ? osErrorText(errno) : message;
    const text =
      level === 'handshake' ? `ssh: handshake failed: ${reason}` : `cannot connect: ${reason}`;
    return new LitestreamError('ERR_STORAGE_TEMPORARY', `sftp: ${host}: ${text}`, {
      cause: error,
      retryable: true,
      details: { ...details, ...(errno !== '' && { errno }) },
      hint: 'check that the server is running, and its address and port',
    });
  }

  #refusedLogin(cause?: unknown): LitestreamError {
    const host = hostOf(this.#ports.settings);
    const methods = this.#tried.join(' ');
    const agent = this.#agentError === undefined ? '' : ` (agent: ${this.#agentError.message})`;
    return new LitestreamError(
      'ERR_STORAGE_DENIED',
      `sftp: ${host}: ssh: handshake failed: ssh: unable to authenticate, attempted methods [${methods}], no supported methods remain${agent}`,
      {
        cause,
        details: { host, user: this.#ports.settings.user },
        hint: 'check the user, and password or key-path, and that the server accepts them',
      },
    );
  }
}

/** What to log in with, in the order of the reference: password, key; then what it does not know: the agent, and prompts. */
async function authMethods(
  library: typeof ssh2,
  { user: username, password, keyPath, keyPassphrase, agentSocket }: SftpSettings,
): Promise<readonly AnyAuthMethod[]> {
  const methods: AnyAuthMethod[] = [{ type: 'none', username }];
  if (password !== '') methods.push({ type: 'password', username, password });
  if (keyPath !== '') {
    const key = await readKey(library, keyPath, keyPassphrase);
    methods.push({ type: 'publickey', username, key, passphrase: keyPassphrase });
  }
  if (agentSocket !== undefined) methods.push({ type: 'agent', username, agent: agentSocket });
  if (password !== '') {
    // Servers that leave passwords to PAM may offer only this.
    methods.push({
      type: 'keyboard-interactive',
      username,
      prompt: (...asked) => {
        const [, , , prompts, answer] = asked;
        answer(prompts.map(({ echo }) => (echo === true ? '' : password)));
      },
    });
  }
  return methods;
}

/** The text of a private key that can be used. */
async function readKey(library: typeof ssh2, path: string, passphrase: string): Promise<string> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    const reason = osErrorText(osErrorCode(error) ?? errorMessage(error));
    throw keyError('read', path, `open ${path}: ${reason}`, error);
  }
  const key = library.utils.parseKey(text, passphrase === '' ? undefined : passphrase);
  if (!(key instanceof Error)) return text;
  const reason = key.message.includes('no passphrase given')
    ? 'ssh: this private key is passphrase protected'
    : key.message;
  throw keyError('parse', path, reason, key);
}

function keyError(verb: string, path: string, reason: string, cause: unknown): LitestreamError {
  return new LitestreamError(
    'ERR_STORAGE_DENIED',
    `sftp: cannot ${verb} sftp key path: ${reason}`,
    {
      cause,
      details: { path },
      hint: 'key-path names a private key of OpenSSH or in PEM; key-passphrase opens an encrypted one',
    },
  );
}
