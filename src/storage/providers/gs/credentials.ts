import type { AuthClient } from 'google-auth-library';
import { type Clock, throwIfAborted } from '../../../lib/clock.ts';
import { errorMessage, isLitestreamError, LitestreamError } from '../../../lib/errors.ts';
import type { FileSystem } from '../../../lib/file-system.ts';
import { osErrorCode } from '../../../lib/os-error.ts';
import type { HttpClient } from '../../http/index.ts';
import { optionalPackage } from '../../optional-package.ts';
import { raceAbort } from '../../streams.ts';
import { fetchThrough } from './fetch.ts';
import { child, textOf } from './json.ts';
import { readWhole } from './read-file.ts';

const SCOPE = 'https://www.googleapis.com/auth/devstorage.read_write';
/** Longest wait for a token: the library asks several servers one after the other. */
const TIMEOUT_MS = 30_000;
const KEY_FILE = 'GOOGLE_APPLICATION_CREDENTIALS';

/** Proves to the store who asks. */
export interface GsCredentials {
  /** Headers for one request. They hold a secret. */
  headers(signal?: AbortSignal): Promise<Record<string, string>>;
  /** Forgets what is cached: the store has refused it. */
  renew(): void;
}

/** An emulator asks nobody who they are. */
export const noCredentials: GsCredentials = {
  headers: () => Promise.resolve({}),
  renew() {
    // There is nothing to forget.
  },
};

export interface GoogleCredentialsPorts {
  readonly bucket: string;
  readonly clock: Clock;
  readonly fileSystem: FileSystem;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly http: HttpClient;
  /** How the library reaches token servers. Default: through `http`. */
  readonly fetch?: typeof fetch | undefined;
}

/**
 * Application Default Credentials: the file that GOOGLE_APPLICATION_CREDENTIALS names (service account, authorised user,
 * workload identity, impersonation), gcloud's file, the metadata server. The library refreshes tokens before they expire.
 * Spec: backends 5.3.
 */
export class GoogleCredentials implements GsCredentials {
  readonly #ports: GoogleCredentialsPorts;
  #client: Promise<AuthClient> | undefined;

  constructor(ports: GoogleCredentialsPorts) {
    this.#ports = ports;
  }

  async headers(signal?: AbortSignal): Promise<Record<string, string>> {
    throwIfAborted(signal);
    try {
      return await raceAbort(this.#withinTimeout(this.#ask()), signal);
    } catch (error) {
      throw isLitestreamError(error) ? error : this.#translate(error);
    }
  }

  renew(): void {
    this.#client = undefined;
  }

  async #ask(): Promise<Record<string, string>> {
    const opening = (this.#client ??= this.#open());
    let client: AuthClient;
    try {
      client = await opening;
    } catch (error) {
      // The next call looks again: a file may have appeared.
      if (this.#client === opening) this.#client = undefined;
      throw error;
    }
    const headers = await client.getRequestHeaders('https://storage.googleapis.com/');
    return Object.fromEntries(headers.entries());
  }

  async #open(): Promise<AuthClient> {
    const { GoogleAuth, JWT } = await optionalPackage(
      () => import('google-auth-library'),
      'gs replicas',
      'google-auth-library',
    );
    const { fetch = fetchThrough(this.#ports.http) } = this.#ports;
    const transporterOptions = { fetchImplementation: fetch };
    const file = await this.#keyFile();
    if (textOf(child(file, 'type')) === 'service_account') {
      return new JWT({
        email: textOf(child(file, 'client_email')),
        key: textOf(child(file, 'private_key')),
        keyId: textOf(child(file, 'private_key_id')),
        scopes: SCOPE,
        transporterOptions,
      });
    }
    // The library finds the file by itself, and warns of files that it is given. A project would cost it requests to several
    // services, and nobody needs one.
    const clientOptions = { transporterOptions };
    return new GoogleAuth({ scopes: SCOPE, projectId: 'none', clientOptions }).getClient();
  }

  /** What the named file says; undefined if none is named. */
  async #keyFile(): Promise<unknown> {
    const path = this.#ports.environment[KEY_FILE] ?? '';
    if (path === '') return undefined;
    try {
      const text = await readWhole(this.#ports.fileSystem, path);
      const parsed: unknown = JSON.parse(text);
      if (textOf(child(parsed, 'type')) === '') throw new Error('no JSON object with a type');
      return parsed;
    } catch (error) {
      // A parser's message quotes the text, which holds a key.
      const reason = error instanceof SyntaxError ? 'not JSON' : errorMessage(error);
      throw this.#denied(`${KEY_FILE} ${path}: ${reason}`, {
        details: { path },
        hint: `let ${KEY_FILE} name a readable file of credentials`,
      });
    }
  }

  #withinTimeout<T>(work: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const timer = this.#ports.clock.timer(TIMEOUT_MS, () => {
        this.renew();
        reject(this.#temporary(`no token within ${TIMEOUT_MS / 1000} s`));
      });
      work.then(resolve, reject).finally(() => {
        timer.cancel();
      });
    });
  }

  #translate(error: unknown): LitestreamError {
    const message = errorMessage(error);
    const status = statusOf(error);
    if (status !== undefined && (status === 429 || status >= 500)) {
      return this.#temporary(message, error);
    }
    if (isConnectionError(error)) return this.#temporary(message, error);
    return this.#denied(message, {
      cause: error,
      hint: `set ${KEY_FILE}, or run "gcloud auth application-default login"`,
    });
  }

  #text(reason: string): string {
    return `failed to create GCS client (bucket: ${this.#ports.bucket}): ${reason}`;
  }

  #denied(
    reason: string,
    init: ConstructorParameters<typeof LitestreamError>[2] = {},
  ): LitestreamError {
    return new LitestreamError('ERR_STORAGE_DENIED', this.#text(reason), init);
  }

  #temporary(reason: string, cause?: unknown): LitestreamError {
    const init = { cause, retryable: true, details: { bucket: this.#ports.bucket } };
    return new LitestreamError('ERR_STORAGE_TEMPORARY', this.#text(reason), init);
  }
}

/** HTTP status of a failed token request. */
function statusOf(error: unknown): number | undefined {
  if (!(error instanceof Error) || !('status' in error)) return undefined;
  return typeof error.status === 'number' ? error.status : undefined;
}

/** True if the token server could not be reached. The library has several ways of reaching it, each with errors of its own. */
function isConnectionError(error: unknown): boolean {
  for (let at: unknown = error; at instanceof Error; at = at.cause) {
    if (isLitestreamError(at, 'ERR_STORAGE_TEMPORARY')) return true;
    const code = osErrorCode(at) ?? '';
    if (
      /^(?:E[A-Z]+|EAI_AGAIN|UND_ERR_.*|TimeoutError)$/.test(code) &&
      code !== 'EACCES' &&
      code !== 'ENOENT'
    ) {
      return true;
    }
  }
  return false;
}
