import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { abortError } from '../lib/clock.ts';
import { sendParts } from './parts-in-flight.ts';

async function* numbers(count: number): AsyncGenerator<number, void, undefined> {
  for (let n = 1; n <= count; n += 1) {
    await nextTurn();
    yield n;
  }
}

/** Waits so many turns of the event loop, or for the signal. */
async function turns(count: number, signal: AbortSignal): Promise<void> {
  for (let n = 0; n < count && !signal.aborted; n += 1) await nextTurn();
  if (signal.aborted) throw abortError(signal);
}

describe('sendParts', () => {
  it('gives the results in order, with a limited number of parts under way', async () => {
    let running = 0;
    let most = 0;
    const results = await sendParts(numbers(20), {
      limit: 3,
      signal: undefined,
      send: async (part, signal) => {
        most = Math.max(most, ++running);
        await turns((part * 7) % 5, signal);
        running -= 1;
        return part * 10;
      },
    });
    assert.deepEqual(
      results,
      Array.from({ length: 20 }, (_, at) => (at + 1) * 10),
    );
    assert.equal(most, 3);
  });

  it('stops the other parts after a failure, and waits until they rest', async () => {
    let running = 0;
    const sent: number[] = [];
    const work = sendParts(numbers(20), {
      limit: 3,
      signal: undefined,
      send: async (part, signal) => {
        sent.push(part);
        running += 1;
        try {
          if (part === 4) throw new Error('part 4');
          await turns(part === 3 ? 1_000_000 : 1, signal);
        } finally {
          running -= 1;
        }
      },
    });
    await assert.rejects(work, { message: 'part 4' });
    assert.equal(running, 0);
    assert.ok(sent.length <= 7, sent.join(' '));
  });

  it('ends with the source, and with the caller', async () => {
    async function* broken(): AsyncGenerator<number, void, undefined> {
      yield* numbers(2);
      throw new Error('source');
    }
    const send = (_part: number, signal: AbortSignal): Promise<void> => turns(1_000_000, signal);
    const options = { limit: 5, signal: undefined, send };
    await assert.rejects(sendParts(broken(), options), { message: 'source' });
    const stop = new AbortController();
    const work = sendParts(numbers(5), { ...options, signal: stop.signal });
    await nextTurn();
    stop.abort();
    await assert.rejects(work, { code: 'ERR_ABORTED' });
  });
});
