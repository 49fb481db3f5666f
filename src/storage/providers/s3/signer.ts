import { createHash, createHmac, type Hash, type Hmac } from 'node:crypto';
import { SignatureV4 } from '@smithy/signature-v4';
import { toDate } from '../../../lib/time-text.ts';
import { hostHeader, type HttpTarget } from '../../http/index.ts';
import type { Credentials } from './credentials.ts';

/** `x-amz-content-sha256` of a request whose body is not signed. */
export const UNSIGNED_PAYLOAD = 'UNSIGNED-PAYLOAD';

/** Lower-case hexadecimal SHA-256. */
export function sha256Hex(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex');
}

type HashInput = string | ArrayBuffer | ArrayBufferView;

function toBytes(data: HashInput): string | Uint8Array {
  if (typeof data === 'string') return data;
  if (data instanceof ArrayBuffer) return new Uint8Array(data);
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** SHA-256, or HMAC-SHA-256 with a secret, as the signing library wants it. */
class Sha256 {
  readonly #hash: Hash | Hmac;

  constructor(secret?: HashInput) {
    this.#hash =
      secret === undefined ? createHash('sha256') : createHmac('sha256', toBytes(secret));
  }

  update(data: HashInput): void {
    this.#hash.update(toBytes(data));
  }

  digest(): Promise<Uint8Array> {
    return Promise.resolve(this.#hash.digest());
  }
}

/** What is signed of one request. */
export interface Unsigned {
  readonly method: string;
  readonly target: HttpTarget;
  /** Encoded, without the query. Signed as it is: nothing is normalised. */
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  /** Lower-case names. All of them are signed. */
  readonly headers: Readonly<Record<string, string>>;
  /** Hex SHA-256 of the body, or {@link UNSIGNED_PAYLOAD}. */
  readonly payload: string;
}

export interface SigningContext {
  readonly region: string;
  readonly credentials: Credentials;
  /** Milliseconds since the Unix epoch. */
  readonly now: number;
}

/**
 * Signs a request with AWS Signature Version 4; returns all headers, `authorization` among them. Only what is passed is signed:
 * `accept-encoding`, `user-agent` and `content-length` are changed on the way by some services and must stay out.
 * Spec: backends 5.2.5.
 */
export async function sign(
  { method, target, path, query, headers, payload }: Unsigned,
  { region, credentials, now }: SigningContext,
): Promise<Record<string, string>> {
  const signer = new SignatureV4({
    service: 's3',
    region,
    credentials,
    sha256: Sha256,
    uriEscapePath: false,
    applyChecksum: false,
  });
  const { headers: signed } = await signer.sign(
    {
      method,
      protocol: target.protocol,
      hostname: target.host,
      path,
      query: { ...query },
      headers: { ...headers, host: hostHeader(target), 'x-amz-content-sha256': payload },
    },
    { signingDate: toDate(now) },
  );
  return signed;
}
