import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LitestreamError } from '../lib/errors.ts';
import { DurationValue } from '../telemetry/index.ts';
import { FakeClock } from '../testing/index.ts';
import { RecordingLogger } from '../../test/support/engine.ts';
import { FailureLog } from './failure-log.ts';

const MESSAGES = { failed: 'sync error', recovered: 'sync recovered' };

function setUp(intervalMs = 1000): { log: FailureLog; logger: RecordingLogger; clock: FakeClock } {
  const clock = new FakeClock();
  const logger = new RecordingLogger();
  return { log: new FailureLog({ logger, clock, messages: MESSAGES, intervalMs }), logger, clock };
}

test('waits double from the interval up to five minutes', () => {
  const { log } = setUp();
  const delays = Array.from({ length: 12 }, () => log.failed(new Error('no')));
  assert.deepEqual(delays.slice(0, 5), [1000, 2000, 4000, 8000, 16_000]);
  assert.deepEqual(delays.slice(9), [300_000, 300_000, 300_000]);
  assert.equal(log.count, 12);
});

test('a thousand failures in a row do not overflow the wait', () => {
  const { log } = setUp();
  let last = 0;
  for (let n = 0; n < 1000; n++) last = log.failed(new Error('no'));
  assert.equal(last, 300_000);
});

test('the first failure is said at once, then one line per 30 s', async () => {
  const { log, logger, clock } = setUp(1);
  for (let second = 0; second < 91; second++) {
    log.failed(new Error('no'));
    await clock.advance(1000);
  }
  const lines = logger.records.filter(({ message }) => message === 'sync error');
  assert.deepEqual(
    lines.map(({ attributes }) => attributes['consecutive_errors']),
    [1, 31, 61, 91],
  );
  assert.ok(lines[0]?.attributes['backoff'] instanceof DurationValue);
  assert.equal(logger.messages('warn').length, 3, 'three retries are announced');
});

test('recovery is said once, with the number of failures, and starts over', () => {
  const { log, logger } = setUp();
  log.succeeded();
  log.failed(new Error('no'));
  log.failed(new Error('no'));
  log.succeeded();
  log.succeeded();
  assert.deepEqual(logger.messages('info'), ['sync recovered']);
  assert.equal(logger.records.at(-1)?.attributes['previous_errors'], 2);
  assert.equal(log.failed(new Error('again')), 1000);
  assert.equal(logger.messages('error').length, 2, 'a new failure is said at once');
});

test('a full disk has a line of its own, and a hint comes with its path', () => {
  const { log, logger } = setUp();
  log.failed(new LitestreamError('ERR_DISK_FULL', 'disk full'));
  assert.match(logger.messages('error')[0] ?? '', /^disk full while staging ltx file/);
  const other = setUp();
  other.log.failed(
    new LitestreamError('ERR_LTX_MISSING', 'gone', { hint: 'do this', details: { path: '/x' } }),
  );
  const line = other.logger.records.find(({ level }) => level === 'error');
  assert.equal(line?.attributes['hint'], 'do this');
  assert.equal(line.attributes['path'], '/x');
});
