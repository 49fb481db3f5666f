import { randomBytes } from 'node:crypto';
import { parseChallenges } from './challenges.ts';
import { type Credentials, DigestAnswers, digestRank } from './digest.ts';

export interface AuthorizerOptions {
  /** Undefined: never send any. */
  readonly credentials: Credentials | undefined;
  /** True if the connection is encrypted. */
  readonly secure: boolean;
}

/** One way to authorize. */
type Method =
  { readonly kind: 'basic' } | { readonly kind: 'digest'; readonly answers: DigestAnswers };

/**
 * Decides what `Authorization` to send. Over TLS Basic goes out at once. Without TLS the first request goes without, so that a
 * server that speaks Digest never sees the password.
 */
export class Authorizer {
  readonly #credentials: Credentials | undefined;
  readonly #secure: boolean;
  #method: Method | undefined;
  /** True once these credentials were accepted: a later refusal may be about an old nonce only. */
  #accepted = false;

  constructor({ credentials, secure }: AuthorizerOptions) {
    this.#credentials = credentials;
    this.#secure = secure;
    if (secure) this.#method = { kind: 'basic' };
  }

  /** Value of `Authorization` for one request. */
  header(method: string, uri: string): string | undefined {
    if (this.#credentials === undefined) return undefined;
    if (this.#method?.kind === 'digest') return this.#method.answers.header(method, uri);
    return this.#method === undefined ? undefined : basic(this.#credentials);
  }

  /** The request was let in. Without a challenge so far, Basic goes with all further ones. */
  accepted(sent: string | undefined, headers: Readonly<Record<string, string>>): void {
    if (sent !== undefined) this.#accepted = true;
    this.#method ??= { kind: 'basic' };
    const next = /(?:^|[\s,])nextnonce="([^"]*)"/i.exec(headers['authentication-info'] ?? '')?.[1];
    if (next !== undefined && this.#method.kind === 'digest') this.#method.answers.renew(next);
  }

  /**
   * The server answered 401.
   *
   * @param sent - what went with the refused request.
   * @returns true if the same request may now succeed.
   */
  challenged(header: string, sent: string | undefined): boolean {
    const credentials = this.#credentials;
    if (credentials === undefined) return false;
    const offers = parseChallenges(header);
    const [digest] = offers
      .filter((offer) => digestRank(offer) > 0)
      .toSorted((a, b) => digestRank(b) - digestRank(a));
    const basicOffered = offers.some(({ scheme }) => scheme === 'basic');
    if (digest !== undefined && !(this.#secure && basicOffered)) {
      const stale = digest.parameters.get('stale')?.toLowerCase() === 'true';
      const before = sent?.startsWith('Digest ') === true;
      this.#method = {
        kind: 'digest',
        answers: new DigestAnswers(digest, credentials, () => randomBytes(16).toString('hex')),
      };
      return !before || stale || this.#accepted;
    }
    this.#method = { kind: 'basic' };
    return basicOffered && sent?.startsWith('Basic ') !== true;
  }
}

function basic({ username, password }: Credentials): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}
