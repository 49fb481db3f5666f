import { createHash } from 'node:crypto';
import type { Challenge } from './challenges.ts';

export interface Credentials {
  readonly username: string;
  readonly password: string;
}

/** How strong, and whether known. */
const HASHES: Readonly<Record<string, string>> = { 'sha-256': 'sha256', md5: 'md5' };

/** Algorithms in the order of preference; 0 if we do not speak it. */
export function digestRank({ scheme, parameters }: Challenge): number {
  if (scheme !== 'digest' || !parameters.has('nonce')) return 0;
  const qop = parameters.get('qop');
  if (qop !== undefined && !/(?:^|[\s,])auth(?:$|[\s,])/i.test(qop)) return 0;
  const algorithm = (parameters.get('algorithm') ?? 'md5').toLowerCase().replace(/-sess$/, '');
  return Object.hasOwn(HASHES, algorithm) ? (algorithm === 'md5' ? 1 : 2) : 0;
}

/** Answers to one Digest challenge (RFC 7616), each with the next count. */
export class DigestAnswers {
  readonly #parameters: ReadonlyMap<string, string>;
  readonly #credentials: Credentials;
  readonly #newCnonce: () => string;
  #nonce: string;
  #count = 0;

  constructor(challenge: Challenge, credentials: Credentials, newCnonce: () => string) {
    this.#parameters = challenge.parameters;
    this.#credentials = credentials;
    this.#newCnonce = newCnonce;
    this.#nonce = challenge.parameters.get('nonce') ?? '';
  }

  /** The server wants another nonce from now on. */
  renew(nonce: string): void {
    this.#nonce = nonce;
    this.#count = 0;
  }

  /** @param uri - path and query exactly as they are sent: strict servers compare. */
  header(method: string, uri: string): string {
    const parameters = this.#parameters;
    const algorithm = parameters.get('algorithm');
    const realm = parameters.get('realm') ?? '';
    const opaque = parameters.get('opaque');
    const nonce = this.#nonce;
    const hash = hashOf(algorithm);
    const { username, password } = this.#credentials;
    const cnonce = this.#newCnonce();
    const user = hash(`${username}:${realm}:${password}`);
    const session = /-sess$/i.test(algorithm ?? '');
    const first = session ? hash(`${user}:${nonce}:${cnonce}`) : user;
    const second = hash(`${method}:${uri}`);
    const fields = [
      `username=${quoted(username)}`,
      `realm=${quoted(realm)}`,
      `nonce=${quoted(nonce)}`,
      `uri=${quoted(uri)}`,
    ];
    if (parameters.has('qop')) {
      this.#count += 1;
      const count = this.#count.toString(16).padStart(8, '0');
      const response = hash(`${first}:${nonce}:${count}:${cnonce}:auth:${second}`);
      fields.push(`qop=auth, nc=${count}, cnonce=${quoted(cnonce)}`);
      fields.push(`response=${quoted(response)}`);
    } else {
      fields.push(`response=${quoted(hash(`${first}:${nonce}:${second}`))}`);
      if (session) fields.push(`cnonce=${quoted(cnonce)}`);
    }
    if (opaque !== undefined) fields.push(`opaque=${quoted(opaque)}`);
    if (algorithm !== undefined) fields.push(`algorithm=${algorithm}`);
    return `Digest ${fields.join(', ')}`;
  }
}

function hashOf(algorithm: string | undefined): (text: string) => string {
  const name = (algorithm ?? 'md5').toLowerCase().replace(/-sess$/, '');
  return (text) =>
    createHash(HASHES[name] ?? 'md5')
      .update(text)
      .digest('hex');
}

/** Header fields are bytes: UTF-8 is given to Node one character for each. */
function quoted(text: string): string {
  return `"${Buffer.from(text.replace(/["\\]/g, '\\$&')).toString('latin1')}"`;
}
