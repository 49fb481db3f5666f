import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FrameTable } from './index.ts';

test('a run of frames is what its frames are one by one, across every growth of the table', () => {
  const one = new FrameTable();
  const runs = new FrameTable();
  // 2^16 frames fill the first chunk; page numbers above 2^31 stay positive.
  for (let round = 0; one.length < 140_000; round++) {
    const count = 1 + ((round * 7919) % 3000);
    const words = new Int32Array(4 + count * 4);
    for (let frame = 0; frame < count; frame++) {
      words[4 + frame * 4] = (0x7fff_0000 + one.length) | 0;
      words[6 + frame * 4] = 10 + frame;
      one.push(0x7fff_0000 + one.length, 10 + frame);
    }
    runs.pushRun(words, 4, count);
    if (round % 5 === 0) {
      one.push(1, 2);
      runs.push(1, 2);
    }
  }
  assert.equal(runs.length, one.length);
  for (let position = 0; position < one.length; position++) {
    if (runs.pgnoAt(position) === one.pgnoAt(position)) continue;
    assert.fail(`page number at ${position}`);
  }
  for (let position = 0; position < one.length; position++) {
    if (runs.sizeAt(position) !== one.sizeAt(position)) assert.fail(`size at ${position}`);
  }
});
