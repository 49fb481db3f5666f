import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { LitestreamError } from '../../lib/errors.ts';
import { FakeClock } from '../../testing/index.ts';
import {
  HttpStatusError,
  isRetryableStatus,
  parseHttpDate,
  retryAfterMs,
  type RetryOptions,
  statusCode,
  withRetries,
} from './index.ts';

function temporary(text = 'boom'): LitestreamError {
  return new LitestreamError('ERR_STORAGE_TEMPORARY', text, { retryable: true, hint: 'wait' });
}

function options(clock: FakeClock, rest: Partial<RetryOptions> = {}): RetryOptions {
  return {
    clock,
    random: () => 1 - Number.EPSILON,
    attempts: 10,
    baseMs: 100,
    maxMs: 20_000,
    what: 'put object k',
    ...rest,
  };
}

/** Times, from the start, of the attempts; all fail with what `failure` gives. */
async function attemptTimes(
  clock: FakeClock,
  rest: Partial<RetryOptions>,
  failure: (n: number) => unknown,
): Promise<{ times: number[]; error: unknown }> {
  const times: number[] = [];
  const start = clock.monotonic();
  const work = withRetries(
    (n) => {
      times.push(Math.round(clock.monotonic() - start));
      return Promise.reject(failure(n));
    },
    options(clock, rest),
  );
  const error: unknown = await clock.runUntil(work).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  return { times, error };
}

describe('withRetries', () => {
  it('doubles the bound of the waits up to a maximum, and spreads them over all of it', async () => {
    const most = await attemptTimes(new FakeClock(), { attempts: 6, maxMs: 500 }, () =>
      temporary(),
    );
    assert.deepEqual(most.times, [0, 100, 300, 700, 1200, 1700]);
    const none = await attemptTimes(new FakeClock(), { random: () => 0 }, () => temporary());
    assert.deepEqual(
      none.times,
      Array.from({ length: 10 }, () => 0),
    );
  });

  it('names what was tried, how often, how long, the bound and the cause', async () => {
    const { error } = await attemptTimes(new FakeClock(), { attempts: 4 }, () => temporary());
    assert.ok(error instanceof LitestreamError);
    assert.equal(
      error.message,
      'put object k: gave up after 4 attempts in 0.7 s (limit 4 attempts): boom',
    );
    assert.equal(error.code, 'ERR_STORAGE_TEMPORARY');
    assert.equal(error.hint, 'wait');
    assert.equal(error.retryable, true);
    assert.equal(error.details['attempts'], 4);
  });

  it('begins no wait that ends behind the total bound', async () => {
    const { times, error } = await attemptTimes(new FakeClock(), { totalMs: 1000 }, () =>
      temporary(),
    );
    assert.deepEqual(times, [0, 100, 300, 700]);
    assert.match(String(error), /gave up after 4 attempts in 0\.7 s \(limit 1 s\): boom/);
  });

  it('passes errors through that no repetition cures', async () => {
    for (const failure of [
      new LitestreamError('ERR_STORAGE_NOT_FOUND', 'gone'),
      new LitestreamError('ERR_ABORTED', 'stop', { retryable: true }),
      new HttpStatusError('denied', { status: 403 }),
      new TypeError('bug'),
    ]) {
      const { times, error } = await attemptTimes(new FakeClock(), {}, () => failure);
      assert.deepEqual(times, [0]);
      assert.equal(error, failure);
    }
  });

  it('passes the only attempt through as it is', async () => {
    const failure = temporary();
    const { error } = await attemptTimes(new FakeClock(), { attempts: 1 }, () => failure);
    assert.equal(error, failure);
  });

  it('waits at least as long as the server asks for, BKD-23', async () => {
    const busy = new HttpStatusError('slow down', { status: 429, retryAfterMs: 7000 });
    const { times } = await attemptTimes(new FakeClock(), { attempts: 3 }, () => busy);
    assert.deepEqual(times, [0, 7000, 14_000]);
    const forever = new HttpStatusError('slow down', { status: 503, retryAfterMs: 1e9 });
    const bounded = await attemptTimes(
      new FakeClock(),
      { attempts: 3, totalMs: 60_000 },
      () => forever,
    );
    assert.deepEqual(bounded.times, [0]);
    assert.equal(bounded.error, forever);
  });

  it('keeps no budget between calls, BKD-05', async () => {
    const clock = new FakeClock();
    for (let call = 0; call < 200; call++) {
      const { times } = await attemptTimes(clock, {}, () => temporary());
      assert.equal(times.length, 10);
    }
    let failures = 9;
    const work = withRetries(
      () => (failures-- > 0 ? Promise.reject(temporary()) : Promise.resolve('stored')),
      options(clock),
    );
    assert.equal(await clock.runUntil(work), 'stored');
  });

  it('ends a wait with the signal', async () => {
    const clock = new FakeClock();
    const controller = new AbortController();
    const work = withRetries(() => Promise.reject(temporary()), {
      ...options(clock),
      signal: controller.signal,
    });
    const rejected = assert.rejects(work, { code: 'ERR_ABORTED' });
    await clock.settle();
    controller.abort();
    await rejected;
    assert.equal(clock.pending, 0);
  });
});

describe('statuses', () => {
  it('are retryable if the server may recover, BKD-23', () => {
    const retryable = [408, 429, 500, 502, 503, 504, 520, 599];
    const final = [200, 301, 400, 401, 403, 404, 409, 412, 416, 501, 505, 507];
    assert.deepEqual(
      retryable.filter((status) => !isRetryableStatus(status)),
      [],
    );
    assert.deepEqual(final.filter(isRetryableStatus), []);
  });

  it('have codes', () => {
    assert.equal(statusCode(401), 'ERR_STORAGE_DENIED');
    assert.equal(statusCode(403), 'ERR_STORAGE_DENIED');
    assert.equal(statusCode(404), 'ERR_STORAGE_NOT_FOUND');
    assert.equal(statusCode(429), 'ERR_STORAGE_TEMPORARY');
    assert.equal(statusCode(503), 'ERR_STORAGE_TEMPORARY');
    assert.equal(statusCode(507), 'ERR_DISK_FULL');
    assert.equal(statusCode(418), 'ERR_STORAGE');
    const error = new HttpStatusError('text', { status: 503, providerCode: 'SlowDown' });
    assert.equal(error.retryable, true);
    assert.deepEqual(error.details, { status: 503, providerCode: 'SlowDown' });
    const own = new HttpStatusError('text', {
      status: 400,
      code: 'ERR_STORAGE_EXISTS',
      retryable: true,
    });
    assert.equal(own.code, 'ERR_STORAGE_EXISTS');
    assert.equal(own.retryable, true);
  });
});

describe('Retry-After', () => {
  const now = Date.UTC(1994, 10, 6, 8, 49, 0);
  const parse = (text: string): number | undefined =>
    retryAfterMs({ 'retry-after': text }, { now: () => now });

  it('is read as seconds and as a date', () => {
    assert.equal(parse('120'), 120_000);
    assert.equal(parse('0'), 0);
    assert.equal(parse('Sun, 06 Nov 1994 08:49:37 GMT'), 37_000);
    assert.equal(parse('Sun, 06 Nov 1994 08:00:00 GMT'), 0);
    assert.equal(retryAfterMs({}, { now: () => now }), undefined);
  });

  it('is ignored if it is nonsense', () => {
    for (const text of ['', 'soon', '-1', '1.5', '99999999999', 'Sun, 06 Foo 1994 08:49:37 GMT']) {
      assert.equal(parse(text), undefined, text);
    }
  });

  it('shares its dates with Last-Modified', () => {
    assert.equal(parseHttpDate('Sun, 06 Nov 1994 08:49:37 GMT'), 784_111_777_000);
    assert.equal(parseHttpDate('Fri, 03 Jul 2026 23:59:60 GMT'), Date.UTC(2026, 6, 4));
    assert.equal(parseHttpDate('2026-07-03T00:00:00Z'), undefined);
  });
});
