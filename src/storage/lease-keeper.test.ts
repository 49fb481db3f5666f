import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { abortError } from '../lib/clock.ts';
import { LitestreamError } from '../lib/errors.ts';
import type { LogAttributes } from '../telemetry/index.ts';
import { bytesSource } from './index.ts';
import { FakeClock, fileKey, listAll, ltxLike, MemoryClient } from '../testing/index.ts';
import { type HeldLease, LEASE_TTL_MS, leaseHeld, leaseNotHeld, type LeaseStore } from './lease.ts';
import { LeaseKeeper } from './lease-keeper.ts';
import { leased } from './wrappers/leased.ts';
import { checkedLogger } from '../../test/support/guarded.ts';

/** One lease that any number of keepers want. */
class Lock {
  current: HeldLease | undefined;
  down = false;
  /** The renewals of this one never arrive. */
  dead: string | undefined;
  renewals = 0;
  #versions = 0;
  readonly #clock: FakeClock;

  constructor(clock: FakeClock) {
    this.#clock = clock;
  }

  owner(): string | undefined {
    return this.current?.owner;
  }

  #write(generation: number, owner: string): Promise<HeldLease> {
    const expiresAt = this.#clock.now() + LEASE_TTL_MS;
    this.current = { generation, owner, expiresAt, etag: `"${++this.#versions}"` };
    return Promise.resolve(this.current);
  }

  readonly store: LeaseStore = {
    acquire: (owner) => {
      this.#requireUp();
      const { current } = this;
      if (current !== undefined && this.#clock.now() <= current.expiresAt) {
        return Promise.reject(leaseHeld(current, this.#clock.now()));
      }
      return this.#write((current?.generation ?? 0) + 1, owner);
    },
    renew: (lease) => {
      this.renewals++;
      this.#requireUp();
      if (lease.owner === this.dead) return new Promise(() => undefined);
      if (this.current?.etag !== lease.etag) return Promise.reject(leaseNotHeld());
      return this.#write(lease.generation, lease.owner);
    },
    release: (lease) => {
      this.#requireUp();
      if (this.current?.etag === lease.etag) this.current = undefined;
      return Promise.resolve();
    },
  };

  #requireUp(): void {
    if (!this.down) return;
    throw new LitestreamError('ERR_STORAGE_TEMPORARY', 'status 503', { retryable: true });
  }
}

interface Bench {
  readonly clock: FakeClock;
  readonly lock: Lock;
  readonly lines: [string, LogAttributes | undefined][];
  readonly keeper: (owner: string) => LeaseKeeper;
}

function bench(): Bench {
  const clock = new FakeClock();
  const lock = new Lock(clock);
  const lines: [string, LogAttributes | undefined][] = [];
  const logger = checkedLogger(
    (level, message, attributes) => void lines.push([`${level} ${message}`, attributes]),
  );
  const keeper = (owner: string): LeaseKeeper =>
    new LeaseKeeper({
      leases: () => Promise.resolve(lock.store),
      clock,
      logger,
      random: () => 0.5,
      owner,
      location: 's3://b/p',
    });
  return { clock, lock, lines, keeper };
}

/** A write that lasts until it is told to end. */
function slowWrite(): { write: (signal: AbortSignal) => Promise<string>; end: () => void } {
  let end = (): void => undefined;
  const write = (signal: AbortSignal): Promise<string> =>
    new Promise((resolve, reject) => {
      end = () => resolve('written');
      signal.addEventListener('abort', () => reject(abortError(signal)));
    });
  return { write, end: () => end() };
}

describe('keeping a lease', () => {
  it('takes it once and renews it every ten seconds', async () => {
    const { clock, lock, keeper } = bench();
    const a = keeper('a:1');
    assert.equal(await a.hold(), true);
    assert.equal(await a.hold(), false);
    await clock.advance(65_000);
    assert.equal(lock.renewals, 6);
    assert.equal(lock.current?.generation, 1);
    assert.equal(await a.guard(undefined, () => Promise.resolve(7)), 7);
    await a.close();
    assert.equal(lock.current, undefined);
    assert.equal(clock.pending, 0);
  });

  it('OPS-01 takes over within the lease and five seconds when the holder dies', async () => {
    const { clock, lock, lines, keeper } = bench();
    const a = keeper('a:1');
    await a.hold();
    await clock.advance(25_000);
    const b = keeper('b:2');
    const waiting = b.hold();
    await clock.advance(60_000);
    assert.equal(lock.owner(), 'a:1', 'while the holder lives');
    assert.ok(lines.filter(([line]) => line === 'warn waiting for the lease').length <= 3);
    // The holder dies: nobody renews.
    lock.dead = 'a:1';
    const diedAt = clock.monotonic();
    while (lock.owner() === 'a:1') await clock.advance(500);
    assert.ok(clock.monotonic() - diedAt <= LEASE_TTL_MS + 5000);
    assert.equal(await waiting, true);
    assert.partialDeepStrictEqual(lock.current, { generation: 2, owner: 'b:2' });
    await b.close();
  });

  it('takes over at once when it is given back', async () => {
    const { clock, keeper, lock } = bench();
    const a = keeper('a:1');
    await a.hold();
    const b = keeper('b:2');
    const waiting = b.hold();
    await clock.advance(1000);
    await a.close();
    await clock.advance(6000);
    assert.equal(await waiting, true);
    assert.equal(lock.current?.owner, 'b:2');
    await b.close();
  });

  it('OPS-01 writes nothing after a pause in which another one took over', async () => {
    const { clock, lock, lines, keeper } = bench();
    const a = keeper('a:1');
    await a.hold();
    // The process stands still: no timer of it fires, and the machine's clock goes on.
    clock.jump(60_000);
    await keeper('b:2').hold();
    let writes = 0;
    const write = (): Promise<number> => Promise.resolve(++writes);
    const refused = {
      code: 'ERR_LEASE_NOT_HELD',
      message: /another process has taken over replica s3:\/\/b\/p/,
    };
    await assert.rejects(a.guard(undefined, write), refused);
    await assert.rejects(a.guard(undefined, write), refused);
    await assert.rejects(a.hold(), refused);
    assert.equal(writes, 0);
    assert.ok(
      lines.some(([line]) => line === 'error lease lost, nothing more is written to this replica'),
    );
    await a.close();
    assert.equal(lock.current?.owner, 'b:2', 'gives away only what is its own');
  });

  it('goes on after a pause in which nobody took over', async () => {
    const { clock, lock, keeper } = bench();
    const a = keeper('a:1');
    await a.hold();
    clock.jump(60_000);
    assert.equal(await a.guard(undefined, () => Promise.resolve('written')), 'written');
    assert.equal(lock.renewals, 1);
    await a.close();
  });

  it('stops a write under way when the lease is lost', async () => {
    const { clock, lock, keeper } = bench();
    const a = keeper('a:1');
    const { write } = slowWrite();
    const writing = assert.rejects(a.guard(undefined, write), { code: 'ERR_LEASE_NOT_HELD' });
    await clock.advance(1000);
    lock.current = { generation: 2, owner: 'b:2', expiresAt: clock.now() + 30_000, etag: '"b"' };
    await clock.advance(10_000);
    await writing;
    await a.close();
  });

  it('stops a write under way when the lease may have ended, and goes on when it is renewed', async () => {
    const { clock, lock, keeper } = bench();
    const a = keeper('a:1');
    const { write } = slowWrite();
    await a.hold();
    const startedAt = clock.monotonic();
    const writing = assert.rejects(a.guard(undefined, write), {
      code: 'ERR_STORAGE_TEMPORARY',
      message: /lease could not be renewed in time: status 503/,
      retryable: true,
    });
    lock.down = true;
    await clock.advance(LEASE_TTL_MS);
    await writing;
    assert.ok(clock.monotonic() - startedAt <= LEASE_TTL_MS);
    await assert.rejects(a.hold(), { code: 'ERR_STORAGE_TEMPORARY' });
    lock.down = false;
    assert.equal(await a.hold(), false);
    const again = slowWrite();
    const done = a.guard(undefined, again.write);
    await clock.advance(40_000);
    again.end();
    assert.equal(await done, 'written');
    await a.close();
  });

  it('does not begin a renewal that lasts longer than the lease', async () => {
    const { clock, lock, keeper } = bench();
    const a = keeper('a:1');
    await a.hold();
    const signals: AbortSignal[] = [];
    Object.assign(lock.store, {
      renew: (_lease: HeldLease, { signal }: { signal: AbortSignal }) => {
        signals.push(signal);
        return new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => reject(abortError(signal)));
        });
      },
    });
    const { write } = slowWrite();
    const writing = assert.rejects(a.guard(undefined, write), { code: 'ERR_STORAGE_TEMPORARY' });
    await clock.advance(LEASE_TTL_MS - 5000);
    assert.equal(signals[0]?.aborted, true);
    await writing;
    await a.close();
  });

  it('ends its wait with the signal, and with close', async () => {
    const { clock, keeper } = bench();
    const a = keeper('a:1');
    await a.hold();
    const b = keeper('b:2');
    const stop = new AbortController();
    const first = assert.rejects(b.hold(stop.signal), { code: 'ERR_ABORTED' });
    await clock.advance(3000);
    stop.abort();
    await first;
    const second = assert.rejects(b.hold(), { code: 'ERR_ABORTED' });
    await clock.advance(3000);
    await b.close();
    await second;
    await a.close();
  });
});

describe('a client with a lease', () => {
  it('writes and deletes under the lease, and reads without', async () => {
    const { clock, lock, keeper } = bench();
    const memory = new MemoryClient();
    const client = leased(memory, keeper('a:1'));
    assert.deepEqual(await listAll(client, 0), []);
    assert.equal(lock.current, undefined);
    assert.equal(await client.beginWriting?.(), true);
    const key = fileKey(0, 1);
    await client.write(key, bytesSource(ltxLike(100)));
    clock.jump(60_000);
    await keeper('b:2').hold();
    const refused = { code: 'ERR_LEASE_NOT_HELD' };
    await assert.rejects(client.write(fileKey(0, 2), bytesSource(ltxLike(100))), refused);
    await assert.rejects(client.delete([key]), refused);
    await assert.rejects(client.deleteAll(), refused);
    assert.equal((await listAll(client, 0)).length, 1);
    await client.close();
  });
});
