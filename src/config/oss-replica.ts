import type { OssLocation } from '../storage/index.ts';
import type { ReplicaKeys } from './keys.ts';
import { firstText, parseUrl, queryInteger, queryText } from './replica-url.ts';
import { withScheme } from './s3-replica.ts';

interface OssHost {
  readonly bucket: string;
  readonly region: string;
  /** Empty: the region's public one. */
  readonly endpoint: string;
}

/** `BUCKET[.oss-REGION[-internal].aliyuncs.com]`; names of the service that stand for no region count as endpoints, too. */
function readHost(host: string): OssHost {
  const found = /^(?:(.+)\.)?(oss-([a-z0-9-]+?)(-internal)?\.aliyuncs\.com)$/.exec(host);
  if (found === null) return { bucket: host, region: '', endpoint: '' };
  const [, bucket = '', server = '', name = '', internal] = found;
  const global = name.startsWith('accelerate');
  const endpoint = global || internal !== undefined ? `https://${server}` : '';
  return { bucket, region: global ? '' : name, endpoint };
}

/** The location of an `oss` replica, all but its path checked by the caller. Spec: config 6.9, 7. */
export function resolveOss(keys: ReplicaKeys): OssLocation {
  const url = keys.url ? parseUrl(keys.url) : undefined;
  const host = readHost(url?.host ?? '');
  const query = url?.query ?? new URLSearchParams();
  const queryEndpoint = queryText(query, 'endpoint');
  return {
    type: 'oss',
    bucket: firstText(keys.bucket, host.bucket),
    path: firstText(keys.path, url?.path),
    region: firstText(keys.region, queryText(query, 'region'), host.region),
    endpoint: firstText(
      keys.endpoint,
      queryEndpoint === undefined ? undefined : withScheme(queryEndpoint),
      host.endpoint,
    ),
    accessKeyId: firstText(keys['access-key-id']),
    secretAccessKey: firstText(keys['secret-access-key']),
    partSizeBytes: keys['part-size'] ?? queryInteger(query, 'partSize', 'part-size'),
    concurrency: keys.concurrency ?? queryInteger(query, 'concurrency'),
  };
}
