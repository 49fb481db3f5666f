import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { errorMessage, LitestreamError } from '../../../lib/errors.ts';
import type { FileSystem } from '../../../lib/file-system.ts';
import type { S3Location } from '../../locations.ts';
import { fileSource } from '../../sources.ts';
import { collect } from '../../streams.ts';

type Headers = Readonly<Record<string, string>>;

/** Headers of server-side encryption. Spec: backends 5.2.8. */
export interface SseHeaders {
  /** Of PutObject and CreateMultipartUpload. */
  readonly create: Headers;
  /** Of UploadPart, GetObject and HeadObject. */
  readonly object: Headers;
}

type SseKeys = Pick<
  S3Location,
  'endpoint' | 'sseCustomerAlgorithm' | 'sseCustomerKey' | 'sseCustomerKeyPath' | 'sseKmsKeyId'
>;

export interface SsePorts {
  readonly fileSystem: FileSystem;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

const CUSTOMER = 'x-amz-server-side-encryption-customer';
const KEY_BYTES = 32;
const PRIVATE_HOST =
  /^(?:localhost|.+\.localhost|127\..*|\[?::1\]?|10\..*|192\.168\..*|172\.(?:1[6-9]|2\d|3[01])\..*)$/;

function refused(text: string): LitestreamError {
  return new LitestreamError('ERR_CONFIG', text);
}

async function readKeyFile(path: string, { fileSystem, environment }: SsePorts): Promise<string> {
  let expanded = path;
  if (path === '~' || path.startsWith('~/')) {
    const home = environment['HOME'] ?? environment['USERPROFILE'] ?? '';
    if (home === '') {
      throw refused('cannot expand home directory for sse-customer-key-path: $HOME is not defined');
    }
    expanded = join(home, path.slice(1));
  }
  try {
    const stat = await fileSystem.stat('s3:sse-key-stat', expanded);
    const bytes = await collect(fileSource(fileSystem, expanded, stat?.size ?? 1).stream());
    return new TextDecoder().decode(bytes).trim();
  } catch (error) {
    const text = `cannot read sse-customer-key-path "${path}": ${errorMessage(error)}`;
    throw new LitestreamError('ERR_CONFIG', text, { cause: error });
  }
}

function decodeKey(text: string): Uint8Array {
  if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text)) {
    const at = text.search(/[^A-Za-z0-9+/]/);
    const where = at < 0 ? text.length : at;
    throw refused(
      `s3: sse-customer-key must be valid base64: illegal base64 data at input byte ${where}`,
    );
  }
  const key = Buffer.from(text, 'base64');
  if (key.length !== KEY_BYTES) {
    throw refused(
      `s3: sse-customer-key must be 256-bit (32 bytes) when decoded, got ${key.length} bytes`,
    );
  }
  return key;
}

function checkEndpoint(endpoint: string): void {
  if (!/^http:/i.test(endpoint)) return;
  const host = URL.parse(endpoint)?.hostname ?? '';
  if (PRIVATE_HOST.test(host)) return;
  throw refused(
    's3: sse-customer-key requires HTTPS endpoint (HTTP only allowed for localhost/private networks)',
  );
}

/**
 * The encryption headers of a location.
 *
 * @throws LitestreamError `ERR_CONFIG`
 */
export async function sseHeaders(keys: SseKeys, ports: SsePorts): Promise<SseHeaders> {
  const { sseCustomerKey, sseCustomerKeyPath, sseCustomerAlgorithm, sseKmsKeyId } = keys;
  const hasKey = sseCustomerKey !== '' || sseCustomerKeyPath !== '';
  if (hasKey && sseKmsKeyId !== '') {
    throw refused(
      's3: cannot use both sse-customer-key and sse-kms-key-id; they are mutually exclusive',
    );
  }
  if (sseKmsKeyId !== '') {
    const create = {
      'x-amz-server-side-encryption': 'aws:kms',
      'x-amz-server-side-encryption-aws-kms-key-id': sseKmsKeyId,
    };
    return { create, object: {} };
  }
  if (!hasKey) return { create: {}, object: {} };
  const algorithm = sseCustomerAlgorithm === '' ? 'AES256' : sseCustomerAlgorithm;
  if (algorithm !== 'AES256') {
    throw refused(`s3: sse-customer-algorithm must be AES256, got "${algorithm}"`);
  }
  const text =
    sseCustomerKeyPath === '' ? sseCustomerKey : await readKeyFile(sseCustomerKeyPath, ports);
  const key = decodeKey(text);
  checkEndpoint(keys.endpoint);
  const headers = {
    [`${CUSTOMER}-algorithm`]: algorithm,
    [`${CUSTOMER}-key`]: text,
    [`${CUSTOMER}-key-md5`]: createHash('md5').update(key).digest('base64'),
  };
  return { create: headers, object: headers };
}
