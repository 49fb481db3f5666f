import assert from 'node:assert/strict';
import { it } from 'node:test';
import { RecordingLogger } from '../../test/support/engine.ts';
import { FakeClock } from '../testing/index.ts';
import { LineLimit } from './line-limit.ts';

it('OPS-06 a message comes at most twice a minute, and says how many were left out', async () => {
  const clock = new FakeClock();
  const logger = new RecordingLogger();
  const limit = new LineLimit(logger, clock);
  for (let second = 0; second < 3600; second++) {
    limit.log('error', 'compaction failed', { level: second % 4 });
    if (second === 10) limit.log('error', 'retention enforcement failed', {});
    await clock.advance(1000);
  }
  assert.equal(logger.messages().length, 121);
  const failed = logger.records.filter(({ message }) => message === 'compaction failed');
  assert.deepEqual(failed[0]?.attributes, { level: 0 });
  assert.deepEqual(failed[1]?.attributes, { level: 2, suppressed: 29 });
});
