import { LitestreamError } from '../lib/errors.ts';
import type { Clock } from '../lib/clock.ts';
import type { FileSystem } from '../lib/file-system.ts';
import { type Logger, noopLogger } from '../telemetry/index.ts';
import type { ReplicaClient, ReplicaOwnership } from './contract.ts';
import type { ReplicaType } from './layouts.ts';
import { parseReplicaUrl, requireComplete } from './url.ts';
import { loggedDeletes } from './wrappers/logged-deletes.ts';
import { resumableReads } from './wrappers/resumable-read.ts';

/** What every provider may need. */
export interface ReplicaClientOptions {
  readonly fileSystem: FileSystem;
  readonly clock: Clock;
  readonly logger?: Logger | undefined;
  /** Permissions and owner for new files and folders of a `file` replica; asked before each write. */
  readonly ownership?: (() => ReplicaOwnership | Promise<ReplicaOwnership>) | undefined;
}

/** A replica in a folder. */
export interface FileReplicaSettings {
  readonly type: 'file';
  /** Not empty. A relative path is taken from the working directory. */
  readonly path: string;
}

/** Everything that tells one replica from another: a member for each provider that this version has. */
export type ReplicaSettings = FileReplicaSettings;

type Opener = (settings: ReplicaSettings, options: ReplicaClientOptions) => Promise<ReplicaClient>;

/** Providers are imported when they are first used: `litestream version` loads none. */
const PROVIDERS: Readonly<Partial<Record<ReplicaType, Opener>>> = {
  async file(settings, { fileSystem, clock, ownership }) {
    const { FileReplicaClient } = await import('./providers/file/index.ts');
    return new FileReplicaClient({ path: settings.path, fileSystem, clock, ownership });
  },
};

/**
 * Opens the client of a replica, with all wrappers: the provider, then resumed reads, then logging.
 *
 * @throws LitestreamError `ERR_STORAGE_URL` for a type that this version does not have or settings without a path.
 */
export async function openReplica(
  settings: ReplicaSettings,
  options: ReplicaClientOptions,
): Promise<ReplicaClient> {
  if (settings.path === '') {
    throw new LitestreamError('ERR_STORAGE_URL', 'file replica path required');
  }
  const open = providerOf(settings.type);
  const { clock, logger = noopLogger } = options;
  const provider = await open(settings, options);
  return loggedDeletes(resumableReads(provider, { clock, logger }), logger);
}

/** {@link openReplica} for a folder. */
export function openFileReplica(
  path: string,
  options: ReplicaClientOptions,
): Promise<ReplicaClient> {
  return openReplica({ type: 'file', path }, options);
}

/**
 * {@link openReplica} for a URL.
 *
 * @throws LitestreamError `ERR_STORAGE_URL` if the URL is bad or its scheme is not supported.
 */
export async function openReplicaClient(
  url: string,
  options: ReplicaClientOptions,
): Promise<ReplicaClient> {
  const parsed = parseReplicaUrl(url);
  requireComplete(parsed);
  providerOf(parsed.type);
  const { path, encodedPath } = parsed;
  // Litestream percent-encodes file URLs instead of decoding them; what it has created stays in use.
  const { fileSystem } = options;
  const encoded =
    encodedPath !== path && (await fileSystem.stat('file:stat-url', encodedPath)) !== undefined;
  return openFileReplica(encoded ? encodedPath : path, options);
}

function providerOf(type: ReplicaType): Opener {
  const open = PROVIDERS[type];
  if (open !== undefined) return open;
  const supported = Object.keys(PROVIDERS).join(', ');
  throw new LitestreamError(
    'ERR_STORAGE_URL',
    `replica type "${type}" is not supported in this version (supported: ${supported})`,
    { details: { type }, hint: `use a replica of type ${supported}` },
  );
}
