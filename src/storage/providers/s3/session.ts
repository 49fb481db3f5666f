import { readFileSync } from 'node:fs';
import { errorMessage, LitestreamError } from '../../../lib/errors.ts';
import type { Clock } from '../../../lib/clock.ts';
import type { FileSystem } from '../../../lib/file-system.ts';
import type { Logger } from '../../../telemetry/index.ts';
import { HttpClient } from '../../http/index.ts';
import type { S3Location } from '../../locations.ts';
import { addressOf } from './address.ts';
import { type HttpSender, S3Api } from './api.ts';
import { type ChainLoader, credentialSource } from './credentials.ts';
import { Deleter } from './deleter.ts';
import { lookUpRegion } from './region.ts';
import { resolveSettings, type S3Settings } from './settings.ts';
import { type SseHeaders, sseHeaders } from './sse.ts';
import { Uploader } from './upload.ts';
import { WireLog } from './wire-log.ts';

/** What a client stands on. */
export interface S3Ports {
  readonly clock: Clock;
  readonly fileSystem: FileSystem;
  readonly logger: Logger;
  readonly random: () => number;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Default: an HTTP client of the session's own. */
  readonly http?: HttpSender | undefined;
  /** Default: the chain of the AWS package. */
  readonly loadChain?: ChainLoader | undefined;
}

/** Everything that one client needs once its settings are known to be good. */
export interface S3Session {
  readonly settings: S3Settings;
  readonly api: S3Api;
  readonly sse: SseHeaders;
  readonly uploader: Uploader;
  readonly deleter: Deleter;
  close(): Promise<void>;
}

/** The authorities in `AWS_CA_BUNDLE`, trusted beside the known ones. Spec: failures BKD-21. */
function caBundle(environment: S3Ports['environment']): Uint8Array | undefined {
  const path = environment['AWS_CA_BUNDLE'] ?? '';
  if (path === '') return undefined;
  try {
    return readFileSync(path);
  } catch (error) {
    throw new LitestreamError(
      'ERR_CONFIG',
      `s3: cannot read AWS_CA_BUNDLE "${path}": ${errorMessage(error)}`,
      { cause: error, details: { path } },
    );
  }
}

function openHttp(location: S3Location, { clock, environment }: S3Ports): HttpClient {
  const { skipVerify } = location;
  return new HttpClient({ clock, environment, skipVerify, ca: caBundle(environment) });
}

/**
 * Checks the settings and makes a session. Asks the service nothing but the region of a bucket at AWS.
 *
 * @throws LitestreamError `ERR_CONFIG`, or what kept the region from being looked up.
 */
export async function openSession(
  location: S3Location,
  ports: S3Ports,
  signal?: AbortSignal,
): Promise<S3Session> {
  const { clock, fileSystem, logger, random, environment } = ports;
  const settings = resolveSettings(location, environment);
  const { bucket, endpoint, pathStyle, quirks, signPayload } = settings;
  const sse = await sseHeaders({ ...location, endpoint }, ports);
  const own = ports.http === undefined ? openHttp(location, ports) : undefined;
  const http = ports.http ?? own;
  if (http === undefined) throw new LitestreamError('ERR_ASSERTION', 'an HTTP client is there');
  try {
    const shared = {
      credentials: credentialSource(location, ports),
      http,
      headers: quirks.headers,
      signPayload,
      clock,
      random,
      logger,
      wire: new WireLog(environment['LITESTREAM_S3_DEBUG'] ?? '', logger),
    };
    const region =
      settings.region ??
      (await lookUpRegion({ bucket, pathStyle, api: shared, environment }, signal));
    const address = addressOf({ bucket, endpoint, region, pathStyle });
    const api = new S3Api({ ...shared, address, region });
    const uploader = new Uploader({
      ...settings,
      api,
      fileSystem,
      clock,
      logger,
      sse,
      checksums: quirks.service === 'aws' && signPayload,
      prefix: `${settings.path}/`,
    });
    const deleter = new Deleter({
      api,
      clock,
      logger,
      sse,
      contentMd5: settings.contentMd5,
      checksDeletes: quirks.checksDeletes,
    });
    const close = async (): Promise<void> => {
      await uploader.close();
      own?.close();
    };
    return { settings, api, sse, uploader, deleter, close };
  } catch (error) {
    own?.close();
    throw error;
  }
}
