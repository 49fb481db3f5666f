import type { Clock } from '../../../lib/clock.ts';
import type { FileSystem } from '../../../lib/file-system.ts';
import type { Logger } from '../../../telemetry/index.ts';
import type { ReplicaClient } from '../../contract.ts';
import { HttpClient, type HttpTarget } from '../../http/index.ts';
import type { GsLocation } from '../../locations.ts';
import { GsApi } from './api.ts';
import { GsReplicaClient } from './client.ts';
import { GoogleCredentials, noCredentials } from './credentials.ts';
import { emulatorTarget } from './emulator.ts';

const SERVER: HttpTarget = { protocol: 'https:', host: 'storage.googleapis.com', port: 443 };

export interface GsOptions {
  readonly fileSystem: FileSystem;
  readonly clock: Clock;
  readonly logger?: Logger | undefined;
  /** Credentials, proxies, the emulator. Default: none. */
  readonly environment?: Readonly<Record<string, string | undefined>> | undefined;
  /** In [0, 1). Default: Math.random. */
  readonly random?: (() => number) | undefined;
  /** The store. Default: Google's. */
  readonly server?: HttpTarget | undefined;
  /** How token servers are reached. Default: through the client's own connections. */
  readonly fetch?: typeof fetch | undefined;
}

/**
 * Opens a replica in Google Cloud Storage, or in the emulator that STORAGE_EMULATOR_HOST names. Contacts nobody.
 *
 * @throws LitestreamError `ERR_CONFIG` for a STORAGE_EMULATOR_HOST that is no address.
 */
export function createGsClient({ bucket, path }: GsLocation, options: GsOptions): ReplicaClient {
  const { clock, fileSystem, environment = {}, random = Math.random, logger } = options;
  const http = new HttpClient({ clock, environment });
  const emulator = emulatorTarget(environment);
  const credentials =
    emulator === undefined
      ? new GoogleCredentials({
          bucket,
          clock,
          fileSystem,
          environment,
          http,
          fetch: options.fetch,
        })
      : noCredentials;
  const target = emulator ?? options.server ?? SERVER;
  const resumes = emulator === undefined;
  const api = new GsApi({ bucket, target, resumes, http, credentials, clock, random });
  return new GsReplicaClient({ api, path, logger, close: () => http.close() });
}
