import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { systemClock } from '../../lib/clock.ts';
import type { Reply } from '../listener/respond.ts';
import { Profiles } from './handler.ts';
import { encodePprof } from './pprof.ts';

type Field = readonly [field: number, value: bigint | Uint8Array];

/** The fields of a protocol buffer message. */
function decode(bytes: Uint8Array): Field[] {
  const fields: Field[] = [];
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++] ?? assert.fail('cut off');
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const key = varint();
    if ((key & 7n) === 0n) fields.push([Number(key >> 3n), varint()]);
    else {
      assert.equal(key & 7n, 2n);
      const length = Number(varint());
      fields.push([Number(key >> 3n), bytes.subarray(at, at + length)]);
      at += length;
    }
  }
  assert.equal(at, bytes.length);
  return fields;
}

function all(fields: readonly Field[], wanted: number): Uint8Array[] {
  return fields.flatMap(([field, value]) =>
    field === wanted && value instanceof Uint8Array ? [value] : [],
  );
}

function strings(fields: readonly Field[]): string[] {
  return all(fields, 6).map((bytes) => Buffer.from(bytes).toString());
}

function packed(bytes: Uint8Array): number[] {
  const values: number[] = [];
  let value = 0;
  let factor = 1;
  for (const byte of bytes) {
    value += (byte & 127) * factor;
    factor *= 128;
    if (byte < 128) {
      values.push(value);
      value = 0;
      factor = 1;
    }
  }
  return values;
}

function burnTime(ms: number): number {
  let sum = 0;
  const end = performance.now() + ms;
  while (performance.now() < end) for (let i = 0; i < 1000; i++) sum += Math.sqrt(i);
  return sum;
}

describe('profiles', () => {
  const profiles = new Profiles({ clock: systemClock, argv: ['/bin/litestream', 'replicate'] });
  const ask = (name: string, query = ''): Promise<Reply> =>
    profiles.answer(`/debug/pprof/${name}`, new URLSearchParams(query));

  it('are written in the form that pprof reads', () => {
    const main = { name: 'main', file: 'a.ts', line: 1 };
    const hot = { name: 'hot', file: 'a.ts', line: 300 };
    const fields = decode(
      encodePprof({
        types: [{ type: 'samples', unit: 'count' }],
        samples: [
          { stack: [hot, main], values: [1000] },
          { stack: [main], values: [3] },
        ],
        timeNs: 1_700_000_000_000_000_000n,
        durationNs: 5n,
        periodType: { type: 'cpu', unit: 'nanoseconds' },
        period: 1000,
      }),
    );
    const texts = strings(fields);
    assert.equal(texts[0], '');
    const [first, second] = all(fields, 2).map((bytes) => {
      const sample = decode(bytes);
      return [...all(sample, 1), ...all(sample, 2)].map(packed);
    });
    assert.deepEqual(first?.[1], [1000]);
    assert.deepEqual(second?.[0], first[0]?.slice(1), 'equal places are one location');
    assert.equal(all(fields, 4).length, 2);
    const names = all(fields, 5).map((bytes) => {
      const index = decode(bytes).find(([field]) => field === 2)?.[1];
      return texts[Number(index)];
    });
    assert.deepEqual(new Set(names), new Set(['hot', 'main']));
    assert.ok(fields.some(([field, value]) => field === 9 && value === 1_700_000_000_000_000_000n));
  });

  it('say where the time went, one at a time', async () => {
    const taken = ask('profile', 'seconds=0.3');
    // The profiler begins in a later turn of the event loop.
    const other = await ask('profile', 'seconds=0.1');
    assert.equal(other.status, 429);
    for (let turn = 0; turn < 20; turn++) {
      burnTime(10);
      await new Promise((resolve) => void setImmediate(resolve));
    }
    const { body, contentType, status } = await taken;
    assert.equal(status, 200);
    assert.equal(contentType, 'application/octet-stream');
    const fields = decode(gunzipSync(body));
    assert.ok(strings(fields).includes('burnTime'));
    assert.ok(all(fields, 2).length > 0);
  });

  it('say what holds memory', async () => {
    const kept: unknown[] = [];
    const taken = ask('heap', 'seconds=0.2');
    for (let turn = 0; turn < 50; turn++) {
      kept.push(Array.from({ length: 20_000 }, (_, at) => ({ at })));
      await new Promise((resolve) => void setImmediate(resolve));
    }
    const { body, status } = await taken;
    assert.equal(status, 200);
    assert.ok(kept.length > 0 && all(decode(gunzipSync(body)), 2).length > 0);
  });

  it('that Node.js does not have are refused, others are not found', async () => {
    for (const name of ['goroutine', 'block', 'mutex', 'threadcreate', 'trace', 'symbol']) {
      const { body, status } = await ask(name);
      assert.deepEqual([status, body], [501, 'profile not available on Node.js\n']);
    }
    assert.equal((await ask('nope')).status, 404);
    assert.equal((await ask('cmdline')).body, '/bin/litestream\0replicate');
    assert.match(String((await ask('')).body), /<a href="heap">/);
  });
});
