import { existsSync } from 'node:fs';
import { posix } from 'node:path';
import { LitestreamError } from '../lib/errors.ts';
import type { NatsLocation, ReplicaLocation } from '../storage/index.ts';
import type { ReplicaKeys } from './keys.ts';
import type { ConfigWarning } from './types.ts';
import { normalizePath } from './path.ts';
import { resolveOss } from './oss-replica.ts';
import { firstText, parseUrl, type ParsedUrl, queryText, urlScheme } from './replica-url.ts';
import { resolveS3 } from './s3-replica.ts';
import { refuseUnsafeParameters, unknownParameters } from './url-parameters.ts';

/** A replica ready to be built. Durations are milliseconds. */
export interface ResolvedReplica {
  readonly location: ReplicaLocation;
  /** The key `name`; empty if the file gives none. */
  readonly name: string;
  readonly syncIntervalMs: number;
  readonly syncIntervalExplicit: boolean;
  readonly maxSyncLtxFiles: number;
  readonly autoRecover: boolean;
  /** Time between complete verifications; 0 = none. */
  readonly validationIntervalMs: number;
  /** This replica's own; undefined = those of the file. Spec: config 11.3. */
  readonly snapshotIntervalMs: number | undefined;
  readonly retentionMs: number | undefined;
}

type ReplicaType = ReplicaLocation['type'];

function configError(message: string): LitestreamError {
  return new LitestreamError('ERR_CONFIG', message);
}

const AGE_UNSUPPORTED =
  'age encryption is not currently supported, if you need encryption please revert back to Litestream v0.3.x';

function refuseAge({ age }: ReplicaKeys): void {
  if ((age?.identities?.length ?? 0) + (age?.recipients?.length ?? 0) > 0) {
    throw configError(AGE_UNSUPPORTED);
  }
}

/** Other spellings of a type or scheme. */
const ALIASES: Readonly<Record<string, string>> = { webdavs: 'webdav', gcs: 'gs' };

function typeName(keys: ReplicaKeys): string {
  const scheme = urlScheme(firstText(keys.url));
  const name = scheme ?? (keys.type || 'file');
  return (scheme === undefined && name === 'webdavs' ? undefined : ALIASES[name]) ?? name;
}

/** Refuses `url` together with the key that says the same. */
function refuseBoth(
  keys: ReplicaKeys,
  type: string,
  ...others: readonly (keyof ReplicaKeys)[]
): void {
  if (!keys.url) return;
  for (const other of others) {
    if (keys[other]) throw configError(`cannot specify url & ${other} for ${type} replica`);
  }
}

function optionalUrl(keys: ReplicaKeys): ParsedUrl | undefined {
  return keys.url ? parseUrl(keys.url) : undefined;
}

function required(value: string | undefined, what: string, type: string): string {
  if (!value) throw configError(`${what} required for ${type} replica`);
  return value;
}

/**
 * The folder of a `file://` URL. Everything after `file:` is cleaned, so `file://a/b` is `/a/b`. The reference writes to the
 * percent-encoded name; where such a folder exists it is used.
 */
function fileUrlPath(url: string): { readonly path: string; readonly encoded: boolean } {
  const { host, rawPath } = parseUrl(url);
  const path = `/${host}${rawPath}`;
  if (host + rawPath === '') throw configError('file replica path required');
  const clean = posix.resolve('/', path);
  const encoded = encodeURI(clean).replaceAll('#', '%23').replaceAll('?', '%3F');
  if (encoded !== clean && existsSync(encoded)) return { path: encoded, encoded: true };
  return { path: clean, encoded: false };
}

function resolveFile(keys: ReplicaKeys): ReplicaLocation {
  refuseBoth(keys, 'file', 'path');
  if (keys.url) return { type: 'file', path: fileUrlPath(keys.url).path };
  if (!keys.path) throw configError('file replica path required');
  return { type: 'file', path: normalizePath(keys.path) };
}

function resolveS3Keys(keys: ReplicaKeys): ReplicaLocation {
  refuseBoth(keys, 's3', 'path', 'bucket');
  return resolveS3(keys);
}

function resolveGs(keys: ReplicaKeys): ReplicaLocation {
  refuseBoth(keys, 'gs', 'path', 'bucket');
  const url = optionalUrl(keys);
  const bucket = required(keys.bucket || url?.host, 'bucket', 'gs');
  return { type: 'gs', bucket, path: firstText(keys.path, url?.path) };
}

interface AbsUrl {
  readonly account: string;
  readonly bucket: string;
  readonly path: string;
  readonly endpoint: string;
}

/**
 * `abs://account@container/prefix`, or `abs://account@account.blob.core.windows.net/container/prefix`, the form that Azure's
 * own documents suggest. `?endpoint=` names another service, such as an emulator.
 */
function absUrl({ host, user, path, query }: ParsedUrl): AbsUrl {
  const endpoint = firstText(queryText(query, 'endpoint'));
  if (!/\.blob\.core\./.test(host)) return { account: user, bucket: host, path, endpoint };
  const [bucket = '', ...rest] = path.split('/');
  const account = host.split('.')[0] ?? '';
  return { account, bucket, path: rest.join('/'), endpoint: endpoint || `https://${host}` };
}

function resolveAbs(keys: ReplicaKeys): ReplicaLocation {
  refuseBoth(keys, 'abs', 'path', 'bucket');
  const url = optionalUrl(keys);
  const form = url && absUrl(url);
  return {
    type: 'abs',
    bucket: required(firstText(keys.bucket, form?.bucket), 'bucket', 'abs'),
    path: firstText(keys.path, form?.path),
    endpoint: firstText(keys.endpoint, form?.endpoint),
    accountName: firstText(keys['account-name'], form?.account),
    accountKey: firstText(keys['account-key']),
    sasToken: firstText(keys['sas-token']).replace(/^\?/, ''),
    connectionString: firstText(keys['connection-string']),
  };
}

function resolveOssKeys(keys: ReplicaKeys): ReplicaLocation {
  refuseBoth(keys, 'oss', 'path', 'bucket');
  const location = resolveOss(keys);
  required(location.bucket, 'bucket', 'oss');
  return location;
}

function resolveSftp(keys: ReplicaKeys): ReplicaLocation {
  refuseBoth(keys, 'sftp', 'path', 'host');
  const url = optionalUrl(keys);
  return {
    type: 'sftp',
    host: required(keys.host || url?.host, 'host', 'sftp'),
    user: required(keys.user || url?.user, 'user', 'sftp'),
    password: firstText(keys.password, url?.password),
    keyPath: firstText(keys['key-path']),
    keyPassphrase: firstText(keys['key-passphrase']),
    hostKey: firstText(keys['host-key']),
    path: firstText(keys.path, url?.rawPath),
    concurrentWrites: keys['concurrent-writes'] ?? true,
  };
}

function resolveWebdav(keys: ReplicaKeys): ReplicaLocation {
  refuseBoth(keys, 'webdav', 'path', 'webdav-url');
  const url = optionalUrl(keys);
  const base = url?.host && `${url.scheme === 'webdavs' ? 'https' : 'http'}://${url.host}`;
  return {
    type: 'webdav',
    url: required(keys['webdav-url'] || base, 'webdav-url', 'webdav'),
    username: firstText(keys['webdav-username'], url?.user),
    password: firstText(keys['webdav-password'], url?.password),
    path: firstText(keys.path, url?.rawPath),
  };
}

/** A user without a password is a token, as NATS itself reads its URLs. */
function natsLogin(
  { username, password, token }: ReplicaKeys,
  url: ParsedUrl | undefined,
): Pick<NatsLocation, 'username' | 'password' | 'token'> {
  const isToken = url?.password === '';
  return {
    username: firstText(username, isToken ? '' : url?.user),
    password: firstText(password, url?.password),
    token: firstText(token, isToken ? url.user : ''),
  };
}

function resolveNats(keys: ReplicaKeys): ReplicaLocation {
  const url = optionalUrl(keys);
  const host = firstText(url?.host, '127.0.0.1:4222');
  // A URL without a path has the clean path `.`.
  const urlBucket = firstText(url?.path).replace(/^\.$/, '');
  const rootCas = keys['root-cas'] ?? [];
  const clientCert = firstText(keys['client-cert']);
  const clientKey = firstText(keys['client-key']);
  if ((clientCert === '') !== (clientKey === '')) {
    throw configError(
      'client-cert and client-key must both be specified for mutual TLS authentication',
    );
  }
  return {
    type: 'nats',
    url: `nats://${host}`,
    bucket: required(firstText(keys.bucket, urlBucket), 'bucket', 'NATS'),
    jwt: firstText(keys.jwt),
    seed: firstText(keys.seed),
    creds: firstText(keys.creds),
    nkey: firstText(keys.nkey),
    ...natsLogin(keys, url),
    tls: (keys.tls ?? false) || rootCas.length > 0 || clientCert !== '',
    rootCas,
    clientCert,
    clientKey,
    maxReconnects: keys['max-reconnects'] ?? -1,
    reconnectWaitMs: keys['reconnect-wait'] ?? 2000,
    timeoutMs: keys.timeout ?? 10_000,
  };
}

const RESOLVERS: Readonly<Record<ReplicaType, (keys: ReplicaKeys) => ReplicaLocation>> = {
  file: resolveFile,
  s3: resolveS3Keys,
  gs: resolveGs,
  abs: resolveAbs,
  oss: resolveOssKeys,
  sftp: resolveSftp,
  webdav: resolveWebdav,
  nats: resolveNats,
};

/** What the key `type` may say. */
export const replicaTypes: readonly string[] = [...Object.keys(RESOLVERS), 'gcs'];

function isReplicaType(name: string): name is ReplicaType {
  return Object.hasOwn(RESOLVERS, name);
}

function unknownType(name: string): LitestreamError {
  return name === 'sqlite'
    ? configError('replica type "sqlite" is only valid under read-replicas')
    : configError(`unknown replica type in config: "${name}"`);
}

/**
 * Resolves a replica's keys, URL and defaults to a location.
 *
 * @throws LitestreamError `ERR_CONFIG`
 *
 * Spec: config 6 and 7.
 */
export function resolveReplica(keys: ReplicaKeys): ResolvedReplica {
  if (urlScheme(firstText(keys.path)) !== undefined) {
    throw configError(
      `replica path cannot be a url, please use the 'url' field instead: ${keys.path}`,
    );
  }
  refuseAge(keys);
  const name = typeName(keys);
  if (!isReplicaType(name)) throw unknownType(name);
  refuseUnsafeParameters(name, keys.url);
  if (keys.lease === true && name !== 's3') {
    throw configError(`lease is only supported for s3 replicas, not for ${name}`);
  }
  return {
    location: RESOLVERS[name](keys),
    name: firstText(keys.name),
    syncIntervalMs: keys['sync-interval'] ?? 1000,
    syncIntervalExplicit: keys['sync-interval'] !== undefined,
    maxSyncLtxFiles: Math.max(0, keys['max-sync-ltx-files'] ?? 256),
    autoRecover: keys['auto-recover'] ?? false,
    validationIntervalMs: Math.max(0, keys['validation-interval'] ?? 0),
    snapshotIntervalMs: keys['snapshot-interval'],
    retentionMs: keys.retention,
  };
}

/** The WARN lines for a replica's URL. `key` is where it stands. Says nothing of a URL that is wrong. */
export function urlWarnings(keys: ReplicaKeys, key: string): ConfigWarning[] {
  try {
    return warningsOfUrl(keys, key);
  } catch {
    // Whoever uses it says what is wrong with it.
    return [];
  }
}

function warningsOfUrl(keys: ReplicaKeys, key: string): ConfigWarning[] {
  const { url = '' } = keys;
  const type = typeName(keys);
  if (url === '' || !isReplicaType(type)) return [];
  const unknown = unknownParameters(type, url).map(({ hint, parameter }) => ({
    message: 'ignoring unknown query parameter of a replica URL',
    attributes: { key, parameter, ...(hint === undefined ? {} : { hint }) },
  }));
  if (type !== 'file') return unknown;
  const { encoded, path } = fileUrlPath(url);
  if (!encoded) return unknown;
  const message = 'replica folder has a percent-encoded name, as other releases wrote it';
  return [...unknown, { message, attributes: { key, path } }];
}
