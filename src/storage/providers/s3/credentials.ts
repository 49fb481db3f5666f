import { errorMessage, LitestreamError } from '../../../lib/errors.ts';
import type { Logger } from '../../../telemetry/index.ts';
import { optionalPackage } from '../../optional-package.ts';

const PACKAGE = '@aws-sdk/credential-provider-node';

/** A key pair. Never logged, never part of an error. */
export interface Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}

/** Where credentials come from. */
export interface CredentialSource {
  /** Valid ones; temporary ones are renewed before they expire. */
  get(): Promise<Credentials>;
  /** Called after the service refused expired ones. Returns false if there is no way to newer ones. */
  refresh(): Promise<boolean>;
}

/** What the chain of the AWS package is, as far as it is used. */
export type ChainLoader = (logger: ChainLogger) => Promise<ChainProvider>;
export type ChainProvider = (options?: { readonly forceRefresh?: boolean }) => Promise<Credentials>;

export interface ChainLogger {
  debug(): void;
  info(): void;
  warn(...texts: readonly unknown[]): void;
  error(): void;
}

function fixed(credentials: Credentials): CredentialSource {
  return { get: () => Promise.resolve(credentials), refresh: () => Promise.resolve(false) };
}

/** The package that knows profiles, roles, containers and instances. */
const loadChain: ChainLoader = async (logger) => {
  const { defaultProvider } = await import('@aws-sdk/credential-provider-node');
  return defaultProvider({ logger });
};

function chainError(error: unknown): LitestreamError {
  if (error instanceof LitestreamError) return error;
  const text = `s3: cannot load credentials: ${errorMessage(error)}`;
  return new LitestreamError('ERR_STORAGE_DENIED', text, {
    cause: error,
    hint: 'configure access-key-id and secret-access-key, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this machine a profile or a role',
  });
}

/** The default chain: profile, SSO, process, web identity, container, instance metadata. */
class ChainSource implements CredentialSource {
  readonly #load: () => Promise<ChainProvider>;
  #provider: Promise<ChainProvider> | undefined;

  constructor(load: () => Promise<ChainProvider>) {
    this.#load = load;
  }

  get(): Promise<Credentials> {
    return this.#ask(false);
  }

  async refresh(): Promise<boolean> {
    await this.#ask(true);
    return true;
  }

  async #ask(forceRefresh: boolean): Promise<Credentials> {
    try {
      this.#provider ??= this.#load();
      const provider = await this.#provider;
      const found = await provider(forceRefresh ? { forceRefresh } : undefined);
      return pick(found);
    } catch (error) {
      this.#provider = undefined;
      throw chainError(error);
    }
  }
}

function pick({ accessKeyId, secretAccessKey, sessionToken = '' }: Credentials): Credentials {
  return { accessKeyId, secretAccessKey, ...(sessionToken !== '' && { sessionToken }) };
}

export interface CredentialPorts {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly logger: Logger;
  /** Default: the AWS package. */
  readonly loadChain?: ChainLoader | undefined;
}

/**
 * Configured keys, then those of the environment with their token, then the default chain. The environment is read here and not
 * by the chain, which prefers a profile. Spec: backends 5.2.3.
 */
export function credentialSource(
  keys: { readonly accessKeyId: string; readonly secretAccessKey: string },
  { environment, logger, loadChain: load = loadChain }: CredentialPorts,
): CredentialSource {
  if (keys.accessKeyId !== '' && keys.secretAccessKey !== '') {
    return fixed({ accessKeyId: keys.accessKeyId, secretAccessKey: keys.secretAccessKey });
  }
  const accessKeyId = environment['AWS_ACCESS_KEY_ID'] ?? '';
  const secretAccessKey = environment['AWS_SECRET_ACCESS_KEY'] ?? '';
  if (accessKeyId !== '' && secretAccessKey !== '') {
    const sessionToken = environment['AWS_SESSION_TOKEN'] ?? '';
    return fixed(pick({ accessKeyId, secretAccessKey, sessionToken }));
  }
  const known = chains.get(environment);
  if (known !== undefined) return known;
  const chain = chainSource(logger, load);
  chains.set(environment, chain);
  return chain;
}

/** One for all replicas of a process: instances and services that hand out credentials limit the number of questions. */
const chains = new WeakMap<CredentialPorts['environment'], CredentialSource>();

function chainSource(logger: Logger, load: ChainLoader): CredentialSource {
  const silent = (): void => undefined;
  const chainLogger: ChainLogger = {
    debug: silent,
    info: silent,
    error: silent,
    warn: (...texts) => logger.log('warn', 'aws credentials', { text: texts.join(' ') }),
  };
  return new ChainSource(() =>
    optionalPackage(() => load(chainLogger), 's3 replicas without access-key-id', PACKAGE),
  );
}
