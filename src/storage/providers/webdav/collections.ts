import type { Clock } from '../../../lib/clock.ts';
import { Mutex } from '../../../lib/mutex.ts';
import { parseHttpDate } from '../../http/index.ts';
import { type Member, PROPFIND_BODY, readListing } from './listing.ts';
import type { Session } from './session.ts';

/** What an upload leaves behind when it is killed. */
const LEFT_BEHIND = /^[0-9a-f]{16}-[0-9a-f]{16}\.ltx\.[0-9a-f]+\.tmp$/;
const LEFT_BEHIND_AFTER_MS = 3_600_000;

export interface Collection {
  readonly members: readonly Member[];
  /** The server's time when it answered; undefined if it does not say. */
  readonly serverTime: number | undefined;
}

/** Lists and makes collections. Paths are decoded and end in a slash. */
export class Collections {
  readonly #session: Session;
  readonly #clock: Clock;
  /** Servers may answer strangely to two who make one collection. */
  readonly #making = new Mutex();
  /** Collections that are there. */
  readonly #known = new Set<string>();

  constructor(session: Session, clock: Clock) {
    this.#session = session;
    this.#clock = clock;
  }

  /** Undefined if there is no such collection. */
  async list(path: string, signal: AbortSignal | undefined): Promise<Collection | undefined> {
    const response = await this.#session.send({
      method: 'PROPFIND',
      path,
      headers: {
        depth: '1',
        'content-type': 'application/xml; charset=utf-8',
        'accept-encoding': 'identity',
      },
      body: PROPFIND_BODY,
      signal,
    });
    if (response.status === 404) {
      await response.discard();
      return undefined;
    }
    if (response.status !== 207) throw await this.#session.unexpected(response);
    return {
      members: await readListing(response.body, this.#session.decodedTarget(path)),
      serverTime: parseHttpDate(response.headers['date'] ?? ''),
    };
  }

  /** Makes a collection and its parents unless it is known to be there; removes what killed uploads have left in it. */
  async ensure(path: string, signal: AbortSignal | undefined): Promise<void> {
    if (this.#known.has(path)) return;
    await this.#making.run(async () => {
      if (this.#known.has(path)) return;
      const found = await this.list(path, signal);
      if (found === undefined) await this.#make(path, signal);
      else await this.#tidy(path, found, signal);
      this.#known.add(path);
    }, signal);
  }

  forget(path: string): void {
    this.#known.delete(path);
  }

  forgetAll(): void {
    this.#known.clear();
  }

  /** 405 means that it is there, 409 that its parent is not. */
  async #make(path: string, signal: AbortSignal | undefined): Promise<void> {
    const request = { method: 'MKCOL', path, signal };
    const made = [200, 201, 204, 405];
    // Apache says 403 if another process makes it at the same time.
    const status = await this.#session.command(request, [...made, 403, 409]);
    if (made.includes(status)) return;
    const parent = path.replace(/[^/]*\/$/, '');
    if (status === 409 && parent !== path && parent !== '') await this.#make(parent, signal);
    const again = await this.#session.send(request);
    if (made.includes(again.status) || (await this.list(path, signal)) !== undefined) {
      await again.discard();
      return;
    }
    throw await this.#session.unexpected(again);
  }

  async #tidy(
    path: string,
    { members, serverTime }: Collection,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const before = (serverTime ?? this.#clock.now()) - LEFT_BEHIND_AFTER_MS;
    for (const { name, modifiedAt } of members) {
      if (!LEFT_BEHIND.test(name) || modifiedAt === 0 || modifiedAt > before) continue;
      await this.#session.command(
        { method: 'DELETE', path: path + name, signal },
        [200, 202, 204, 404],
      );
    }
  }
}
