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
  debug(...texts: readonly unknown[]): void;
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

const HINT =
  'configure access-key-id and secret-access-key, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this machine a profile or a role';
/** The answer to a request for a session token is dropped on its way into a container, unless it may go one hop further. */
const HOP_LIMIT_HINT =
  '; for a container on an EC2 instance with a role: aws ec2 modify-instance-metadata-options --instance-id ID --http-put-response-hop-limit 2';

/** What the package says, in debug lines only, when the metadata service of the machine gave it no session token. */
const NO_METADATA_TOKEN = /using v1 fallback/;

function chainError(error: unknown, gotNoToken: boolean): LitestreamError {
  if (error instanceof LitestreamError) return error;
  const token = gotNoToken ? ' (the instance metadata service gave no session token)' : '';
  const text = `s3: cannot load credentials: ${errorMessage(error)}${token}`;
  const hint = gotNoToken ? HINT + HOP_LIMIT_HINT : HINT;
  return new LitestreamError('ERR_STORAGE_DENIED', text, { cause: error, hint });
}

/** The default chain: profile, SSO, process, web identity, container, instance metadata. */
class ChainSource implements CredentialSource {
  readonly #load: (debug: ChainLogger['debug']) => Promise<ChainProvider>;
  #provider: Promise<ChainProvider> | undefined;
  #gotNoToken = false;

  constructor(load: (debug: ChainLogger['debug']) => Promise<ChainProvider>) {
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
      this.#gotNoToken = false;
      this.#provider ??= this.#load((...texts) => {
        this.#gotNoToken ||= NO_METADATA_TOKEN.test(texts.join(' '));
      });
      const provider = await this.#provider;
      const found = await provider(forceRefresh ? { forceRefresh } : undefined);
      return pick(found);
    } catch (error) {
      this.#provider = undefined;
      throw chainError(error, this.#gotNoToken);
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
  return new ChainSource((debug) => {
    const chainLogger: ChainLogger = {
      debug,
      info: silent,
      error: silent,
      warn: (...texts) => logger.log('warn', 'aws credentials', { text: texts.join(' ') }),
    };
    return optionalPackage(() => load(chainLogger), 's3 replicas without access-key-id', PACKAGE);
  });
}
