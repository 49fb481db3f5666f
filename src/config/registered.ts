import { isLitestreamError, LitestreamError } from '../lib/errors.ts';
import { commandLineConfig } from './build.ts';
import { resolveDatabase, type ResolvedDatabase } from './database.ts';
import type { ReplicaKeys } from './keys.ts';
import { parseUrl, queryText, urlScheme } from './replica-url.ts';
import { resolveReplica } from './replica.ts';
import type { Config, Environment } from './types.ts';

const SCHEMES: ReadonlySet<string> = new Set(
  'file s3 gs gcs abs sftp webdav webdavs nats oss'.split(' '),
);
/** What says where a replica is: the URL does that. */
const PLACE_KEYS: readonly (keyof ReplicaKeys)[] = ['bucket', 'host', 'webdav-url', 'path', 'type'];
const NATS_LOGIN_KEYS: readonly (keyof ReplicaKeys)[] = [
  ...(['jwt', 'seed', 'creds', 'nkey', 'token'] as const),
  'username',
  'password',
];

/** `forcePathStyle` and `requireContentMD5` as keys are written: `force-path-style`, `require-content-md5`. */
function keyOf(parameter: string): string {
  return parameter.replaceAll(/(?<=[a-z])[A-Z]+\d*/g, (part) => `-${part}`).toLowerCase();
}

function without(keys: ReplicaKeys, names: Iterable<string>): ReplicaKeys {
  const left = new Map(Object.entries(keys));
  for (const name of names) left.delete(name);
  return Object.fromEntries(left);
}

/** `LITESTREAM_S3_ENDPOINT` stands in for the endpoint of an `s3` URL that gives none. Spec: cli 3. */
function withEndpoint(url: string, environment: Environment): string {
  const endpoint = environment['LITESTREAM_S3_ENDPOINT'] ?? '';
  if (endpoint === '' || urlScheme(url) !== 's3') return url;
  const location = resolveReplica({ url }).location;
  if (location.type !== 's3' || location.endpoint !== '') return url;
  return `${url}${url.includes('?') ? '&' : '?'}endpoint=${encodeURIComponent(endpoint)}`;
}

/** The file's replica settings, as far as the URL does not give them. */
function defaultsBelow(url: string, { replicaDefaults }: Config): ReplicaKeys {
  const isAccessPoint = /^s3:\/\/arn:/i.test(url);
  const question = url.indexOf('?');
  const query = new URLSearchParams(question < 0 ? '' : url.slice(question + 1));
  const given = [...query.keys()].filter((name) => queryText(query, name) !== undefined).map(keyOf);
  const plain = resolveReplica({ url }).location;
  if (plain.type === 's3' && plain.endpoint !== '') given.push('endpoint', 'region');
  if (plain.type === 's3' && plain.region !== '') given.push('region');
  if (plain.type === 'oss' && plain.region !== '') given.push('region');
  const left = without(replicaDefaults, [...PLACE_KEYS, ...given]);
  if (isAccessPoint) return left;
  const { password, scheme, user } = parseUrl(url);
  if (user === '') return left;
  if (scheme !== 'nats') return without(left, ['user', 'password', 'account-name']);
  // Here, unlike in the file, user and password of the URL count.
  return { ...without(left, NATS_LOGIN_KEYS), username: user, password };
}

function requireKnownScheme(url: string): void {
  const scheme = urlScheme(url);
  if (scheme === undefined) {
    throw new LitestreamError('ERR_CONFIG', `replica url scheme required: ${url}`);
  }
  if (!SCHEMES.has(scheme)) {
    throw new LitestreamError('ERR_CONFIG', `unsupported replica URL scheme: "${scheme}"`);
  }
}

/** The same error, in the words for a URL. */
function inUrlTerms(error: unknown): unknown {
  if (!isLitestreamError(error, 'ERR_CONFIG')) return error;
  const text = error.message.replace(/^(\S+ required for \S+ replica)$/, '$1 URL');
  return text === error.message ? error : new LitestreamError('ERR_CONFIG', text, { cause: error });
}

/**
 * A database that is registered while the daemon runs: built-in defaults for the database; for its replica the URL, then the file's
 * settings for all replicas.
 *
 * @param path - absolute and clean.
 * @throws LitestreamError `ERR_CONFIG` if the URL is unusable
 *
 * Spec: interfaces 2.3 `POST /register`, config 7.5.
 */
export function registeredDatabase(
  path: string,
  replicaUrl: string,
  config: Config,
  environment: Environment,
): ResolvedDatabase {
  requireKnownScheme(replicaUrl);
  try {
    const url = withEndpoint(replicaUrl, environment);
    const [entry] = commandLineConfig(path, [url]).databases;
    if (entry === undefined) throw new LitestreamError('ERR_CONFIG', 'database path required');
    const keys: ReplicaKeys = { ...defaultsBelow(url, config), url };
    const resolved = resolveDatabase({ ...entry, replicas: [keys] });
    return { ...resolved, replicas: resolved.replicas.map(fromLoginFolder) };
  } catch (error) {
    throw inUrlTerms(error);
  }
}

/** Such a URL's path begins in the folder that a login leads to. Spec: config 7.2. */
function fromLoginFolder(
  replica: ResolvedDatabase['replicas'][number],
): ResolvedDatabase['replicas'][number] {
  const { location } = replica;
  if (location.type !== 'sftp' && location.type !== 'webdav') return replica;
  return { ...replica, location: { ...location, path: location.path.replace(/^\//, '') } };
}
