import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { FakeS3, type FakeRules, s3Location } from '../../../../test/support/fake-s3/index.ts';
import { type Clock, systemClock } from '../../../lib/clock.ts';
import { isLitestreamError } from '../../../lib/errors.ts';
import { nodeFileSystem } from '../../../lib/file-system.ts';
import { noopLogger } from '../../../telemetry/index.ts';
import type { LeaseStore } from '../../lease.ts';
import { S3ReplicaClient } from './client.ts';

const KEY = 'p/lock.json';

/** Real time, with a wall clock that a test may move. */
class ShiftedClock implements Clock {
  offsetMs = 0;
  now = (): number => systemClock.now() + this.offsetMs;
  monotonic = (): number => systemClock.monotonic();
  timer: Clock['timer'] = (ms, callback) => systemClock.timer(Math.min(ms, 20), callback);
}

interface Bench {
  readonly fake: FakeS3;
  readonly clock: ShiftedClock;
  readonly open: (path?: string) => Promise<LeaseStore>;
  /** Lets the clock of the store and ours run ahead. */
  readonly wait: (ms: number) => void;
  readonly record: () => Record<string, unknown>;
}

async function bench(t: TestContext, rules: Partial<FakeRules> = {}): Promise<Bench> {
  const fake = await FakeS3.start(t, rules);
  const clock = new ShiftedClock();
  const { accessKeyId, secretAccessKey } = fake.rules.secrets;
  return {
    fake,
    clock,
    open: (path = 'p') => {
      const client = new S3ReplicaClient(
        s3Location({ path, endpoint: fake.endpoint, accessKeyId, secretAccessKey }),
        {
          clock,
          fileSystem: nodeFileSystem,
          logger: noopLogger,
          random: Math.random,
          environment: {},
        },
      );
      t.after(() => client.close());
      return client.leases();
    },
    wait: (ms) => {
      clock.offsetMs += ms;
      fake.rules.clockOffsetMs += ms;
    },
    record: () =>
      JSON.parse(fake.objects.get(KEY)?.bytes.toString() ?? '{}') as Record<string, unknown>,
  };
}

function put(fake: FakeS3, record: unknown): void {
  fake.put(KEY, new TextEncoder().encode(JSON.stringify(record)));
}

describe('the lease of an S3 replica', () => {
  it('is taken where there is none, in the form of the reference', async (t) => {
    const { open, record, fake } = await bench(t);
    const leases = await open();
    const lease = await leases.acquire('a:1');
    assert.equal(lease.generation, 1);
    assert.equal(lease.etag, fake.objects.get(KEY)?.etag);
    const { generation, owner, expires_at: expiresAt } = record();
    assert.deepEqual({ generation, owner }, { generation: 1, owner: 'a:1' });
    const left = Date.parse(String(expiresAt)) - Date.now();
    // The store's clock has whole seconds.
    assert.ok(left > 27_000 && left <= 30_500, `${left} ms`);
    const [first] = fake.where('PUT');
    assert.partialDeepStrictEqual(first?.headers, {
      'if-none-match': '*',
      'content-type': 'application/json',
    });
    await (await open('')).acquire('');
    const bare = JSON.parse(fake.objects.get('lock.json')?.bytes.toString() ?? '') as object;
    assert.equal('owner' in bare, false);
  });

  it('is refused while somebody has it, even to its owner', async (t) => {
    const { open, fake } = await bench(t);
    const leases = await open();
    await leases.acquire('a:1');
    for (const owner of ['b:2', 'a:1']) {
      await assert.rejects(leases.acquire(owner), {
        code: 'ERR_LEASE_HELD',
        message: /^lease already held by a:1 until \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/,
        retryable: true,
      });
    }
    put(fake, { generation: 3, expires_at: '2999-01-01T02:00:00.123456789+02:00' });
    await assert.rejects(leases.acquire('b:2'), {
      message: 'lease already held until 2999-01-01T00:00:00Z',
    });
  });

  it('changes hands when it has ended, with the next number', async (t) => {
    const { open, wait, fake } = await bench(t);
    const leases = await open();
    const first = await leases.acquire('a:1');
    wait(29_000);
    await assert.rejects((await open()).acquire('b:2'), { code: 'ERR_LEASE_HELD' });
    wait(3000);
    const second = await (await open()).acquire('b:2');
    assert.equal(second.generation, 2);
    assert.ok(fake.where('PUT').some(({ headers }) => headers['if-match'] === first.etag));
    await assert.rejects(leases.renew(first), {
      code: 'ERR_LEASE_NOT_HELD',
      message: 'lease not held',
    });
    await assert.rejects(leases.release(first), {
      code: 'ERR_LEASE_NOT_HELD',
      message: 'lease not held',
    });
    assert.equal(fake.objects.get(KEY)?.etag, second.etag);
  });

  it('is renewed with a later end and the same number', async (t) => {
    const { open, wait, record } = await bench(t);
    const leases = await open();
    const first = await leases.acquire('a:1');
    wait(10_000);
    const second = await leases.renew(first);
    assert.equal(second.generation, 1);
    assert.notEqual(second.etag, first.etag);
    assert.ok(second.expiresAt - first.expiresAt >= 10_000);
    assert.equal(Date.parse(String(record()['expires_at'])), second.expiresAt);
    await assert.rejects((await open()).acquire('b:2'), { code: 'ERR_LEASE_HELD' });
  });

  it('is given back, and is gone then', async (t) => {
    const { open, fake } = await bench(t);
    const leases = await open();
    const lease = await leases.acquire('a:1');
    await leases.release(lease);
    assert.equal(fake.objects.has(KEY), false);
    await assert.rejects(leases.release(lease), {
      code: 'ERR_LEASE_NOT_HELD',
      message: 'lease already released',
    });
    assert.equal((await leases.acquire('b:2')).generation, 1);
  });

  it('has exactly one winner among ten', async (t) => {
    const { open, wait } = await bench(t);
    const stores = await Promise.all(Array.from({ length: 10 }, () => open()));
    for (const ended of [0, 31_000, 31_000]) {
      wait(ended);
      const outcomes = await Promise.allSettled(
        stores.map((leases, index) => leases.acquire(`host:${index}`)),
      );
      assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 1);
      for (const outcome of outcomes) {
        if (outcome.status === 'rejected') {
          assert.ok(isLitestreamError(outcome.reason, 'ERR_LEASE_HELD'));
        }
      }
    }
  });
});

describe('a lease and a difficult store', () => {
  it('is refused by us where the store ignores conditions', async (t) => {
    const { open, fake } = await bench(t, { conditions: 'ignored' });
    await assert.rejects((await open()).acquire('a:1'), {
      code: 'ERR_STORAGE',
      message: 's3: the store ignores If-None-Match: no lease is possible',
    });
    assert.equal(fake.objects.size, 0);
  });

  it('survives the loss of any answer', async (t) => {
    const { open, fake } = await bench(t);
    let lost = 0;
    // The store does it, and nobody hears of it.
    const losing = (method: string): void => {
      lost = 1;
      fake.rules.fault = (request) => {
        if (request.method !== method || lost === 0) return undefined;
        lost--;
        fake.rules.fault = undefined;
        fake.put(request.key ?? '', request.body);
        return 'reset';
      };
    };
    const leases = await open();
    losing('PUT');
    const first = await leases.acquire('a:1');
    assert.equal(lost, 0);
    assert.equal(first.etag, fake.objects.get(KEY)?.etag);
    losing('PUT');
    const second = await leases.renew(first);
    assert.equal(second.etag, fake.objects.get(KEY)?.etag);
    // A renewal that was given up and had arrived.
    await leases.renew(second);
    assert.equal((await leases.renew(second)).generation, 1);
  });

  it('takes a racing writer for the winner', async (t) => {
    const { open, fake } = await bench(t);
    fake.rules.fault = ({ method }) => {
      if (method !== 'PUT') return undefined;
      put(fake, { generation: 1, expires_at: '2999-01-01T00:00:00Z', owner: 'b:2' });
      fake.rules.fault = undefined;
      return { status: 409, code: 'ConditionalRequestConflict' };
    };
    await assert.rejects((await open()).acquire('a:1'), {
      code: 'ERR_LEASE_HELD',
      message: 'lease already held by b:2 until 2999-01-01T00:00:00Z',
    });
  });

  it('is ended by a time in the past where deletions take no condition', async (t) => {
    const { open, fake } = await bench(t);
    const leases = await open();
    const lease = await leases.acquire('a:1');
    fake.rules.fault = ({ method }) =>
      method === 'DELETE' ? { status: 501, code: 'NotImplemented' } : undefined;
    await leases.release(lease);
    assert.equal((await (await open()).acquire('b:2')).generation, 2);
  });

  it('goes by the clock of the store', async (t) => {
    const { open, fake, clock } = await bench(t);
    await (await open()).acquire('a:1');
    // A machine that is an hour ahead takes nothing away.
    clock.offsetMs = 3_600_000;
    await assert.rejects((await open()).acquire('b:2'), { code: 'ERR_LEASE_HELD' });
    assert.equal(fake.where('PUT').length, 2);
  });

  it('says what is wrong with a lock file that cannot be read', async (t) => {
    const { open, fake } = await bench(t);
    const leases = await open();
    for (const text of [
      '',
      'x',
      '[]',
      '{"generation":1}',
      '{"expires_at":"2999-01-01T00:00:00Z"}',
    ]) {
      fake.put(KEY, new TextEncoder().encode(text));
      await assert.rejects(leases.acquire('a:1'), /decode lock file: /);
    }
  });
});
