import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { isLitestreamError } from '../../lib/errors.ts';
import {
  FakeClock,
  FaultyClient,
  fileKey,
  ltxLike,
  MemoryClient,
  replicaClientSuite,
  SimulatedCrash,
} from '../../testing/index.ts';
import type { FileInfo, ReadKey, ReadOptions, ReplicaClient } from '../contract.ts';
import { bytesSource, collect, readAll, readRange, resumableReads } from '../index.ts';

const SIZE = 300_000;
const BYTES = ltxLike(SIZE);

replicaClientSuite('memory, reads resumed', () => {
  const store = new MemoryClient().store;
  return Promise.resolve({
    open: (path) =>
      Promise.resolve(
        resumableReads(new MemoryClient({ store, path }), { clock: new FakeClock() }),
      ),
    keys: () => Promise.resolve([...store.keys()]),
    dispose: () => Promise.resolve(),
  });
});

interface Setup {
  readonly clock: FakeClock;
  readonly faulty: FaultyClient;
  readonly client: ReplicaClient;
  readonly info: FileInfo;
}

async function setUp(): Promise<Setup> {
  const clock = new FakeClock();
  const faulty = new FaultyClient(new MemoryClient());
  const client = resumableReads(faulty, { clock });
  const info = await client.write(fileKey(1, 3, 9), bytesSource(BYTES));
  return { clock, faulty, client, info };
}

/** A client whose `read` alone is of interest. */
function reading(
  read: (key: ReadKey, options: ReadOptions) => AsyncIterable<Uint8Array>,
): ReplicaClient {
  const memory = new MemoryClient();
  return Object.assign(memory, { read });
}

function equal(found: Uint8Array, expected: Uint8Array): void {
  assert.ok(
    Buffer.from(expected).equals(found),
    `${found.length} bytes, expected ${expected.length}`,
  );
}

describe('resumed reads', () => {
  it('ask once if nothing goes wrong', async () => {
    const { clock, faulty, client, info } = await setUp();
    equal(await readAll(client, info), BYTES);
    assert.equal(faulty.count('read'), 1);
    assert.equal(clock.pending, 0, 'no timer is left');
  });

  for (const kind of ['before', 'partial', 'truncate', 'after'] as const) {
    it(`RST-03 go on where a stream ended: ${kind}`, async () => {
      const { clock, faulty, client, info } = await setUp();
      faulty.inject({ operation: 'read', kind, amount: 100_001 });
      equal(await clock.runUntil(readAll(client, info)), BYTES);
      assert.equal(faulty.count('read'), kind === 'after' ? 1 : 2);
      assert.equal(clock.monotonic(), kind === 'after' ? 0 : 250);
    });
  }

  it('hold for objects of other layouts, too', async () => {
    const clock = new FakeClock();
    const memory = new MemoryClient({ path: 'p' });
    const faulty = new FaultyClient(memory);
    const client = resumableReads(faulty, { clock });
    memory.putObject('generations/a/1', BYTES, 5);
    faulty.inject({ operation: 'readObject', kind: 'truncate', amount: 100_001 });
    const objects = [];
    for await (const object of client.listObjects?.('generations') ?? []) objects.push(object);
    assert.deepEqual(objects, [{ key: 'generations/a/1', size: SIZE, modifiedAt: 5 }]);
    const [object] = objects;
    assert.ok(object !== undefined && client.readObject !== undefined);
    equal(await clock.runUntil(collect(client.readObject(object))), BYTES);
    assert.equal(faulty.count('readObject'), 2);
    faulty.inject({ operation: 'readObject', kind: 'before', times: 4 });
    await assert.rejects(clock.runUntil(collect(client.readObject(object))), {
      message:
        'max retries exceeded reading object (key=generations/a/1, offset=0): injected fault: readObject before',
    });
  });

  it('wait 250, 500 and 1000 ms, then give up', async () => {
    const { clock, faulty, client, info } = await setUp();
    faulty.inject({ operation: 'read', kind: 'partial', amount: 1000, times: 4 });
    const read = readAll(client, info);
    const failed = assert.rejects(read, {
      code: 'ERR_STORAGE_TEMPORARY',
      retryable: true,
      message:
        'max retries exceeded reading ltx file (level=1, min=0000000000000003, max=0000000000000009, offset=4000): injected fault: read partial',
    });
    for (const [ms, reads] of [
      [0, 1],
      [249, 1],
      [1, 2],
      [499, 2],
      [1, 3],
      [999, 3],
      [1, 4],
    ] as const) {
      await clock.advance(ms);
      assert.equal(faulty.count('read'), reads, `${clock.monotonic()} ms`);
    }
    await failed;
    assert.equal(clock.pending, 0);
  });

  it('name an early end as the cause', async () => {
    const { clock, faulty, client, info } = await setUp();
    faulty.inject({ operation: 'read', kind: 'truncate', amount: 0, times: 4 });
    await assert.rejects(clock.runUntil(readAll(client, info)), /offset=0\): unexpected EOF$/);
  });

  it('allow three retries in all, however much arrives between them', async () => {
    const { clock, faulty, client, info } = await setUp();
    faulty.inject({ operation: 'read', kind: 'truncate', amount: 70_000, times: 3 });
    equal(await clock.runUntil(readAll(client, info)), BYTES);
    assert.equal(faulty.count('read'), 4);
    faulty.inject({ operation: 'read', kind: 'truncate', amount: 1, times: 100 });
    await assert.rejects(clock.runUntil(readAll(client, info)), /offset=4\): unexpected EOF/);
    assert.equal(faulty.count('read'), 8);
  });

  it('deliver the bytes before the error at once', async () => {
    const { clock, faulty, client, info } = await setUp();
    faulty.inject({ operation: 'read', kind: 'partial', amount: 5000 });
    const iterator = client.read(info)[Symbol.asyncIterator]();
    const first = await iterator.next();
    assert.equal(first.done === true ? 0 : first.value.length, 5000);
    assert.equal(clock.monotonic(), 0);
    await iterator.return?.();
  });

  it('never retry a file that is gone', async () => {
    const { clock, faulty, client, info } = await setUp();
    const gone = fileKey(5, 5);
    await assert.rejects(readAll(client, gone), { code: 'ERR_STORAGE_NOT_FOUND' });
    assert.equal(faulty.count('read'), 1);
    faulty.inject({ operation: 'read', kind: 'partial', amount: 100 });
    const read = readAll(client, info);
    await clock.settle();
    await client.delete([info]);
    const failed = assert.rejects(read, (error: unknown) => {
      assert.ok(isLitestreamError(error, 'ERR_STORAGE_NOT_FOUND'));
      assert.match(error.message, /^reopen ltx file at offset 100: /);
      return true;
    });
    await clock.advance(250);
    await failed;
    assert.equal(faulty.count('read'), 3);
  });

  it('end at once when the signal fires during a wait', async () => {
    const { clock, faulty, client, info } = await setUp();
    faulty.inject({ operation: 'read', kind: 'before', times: 9 });
    const controller = new AbortController();
    const read = readAll(client, info, controller.signal);
    const failed = assert.rejects(read, { code: 'ERR_ABORTED' });
    await clock.settle();
    controller.abort();
    await failed;
    await clock.advance(10_000);
    assert.equal(faulty.count('read'), 1);
    assert.equal(clock.pending, 0);
  });

  it('end at once when the signal fires while a stream is silent', async () => {
    const { clock, faulty, client, info } = await setUp();
    faulty.inject({ operation: 'read', kind: 'hang', amount: 500 });
    const controller = new AbortController();
    const failed = assert.rejects(readAll(client, info, controller.signal), {
      code: 'ERR_ABORTED',
    });
    await clock.settle();
    controller.abort();
    await failed;
    assert.equal(clock.pending, 0);
  });

  it('give up a silent stream after 30 s and tell the provider', async () => {
    const { clock, faulty, client, info } = await setUp();
    for (const amount of [0, 1, 65_536, 250_000]) {
      faulty.inject({ operation: 'read', kind: 'hang', amount });
      const start = clock.monotonic();
      equal(await clock.runUntil(readAll(client, info)), BYTES);
      assert.equal(clock.monotonic() - start, 30_250);
      assert.equal(clock.pending, 0);
    }
  });

  it('abort the request that has gone silent', async () => {
    const clock = new FakeClock();
    const signals: (AbortSignal | undefined)[] = [];
    const client = resumableReads(
      reading(async function* (_key, { signal }) {
        signals.push(signal);
        yield new Uint8Array(10);
        await new Promise(() => {
          // For ever.
        });
      }),
      { clock, idleTimeoutMs: 2000 },
    );
    const read = readAll(client, { ...fileKey(0, 1), size: 1000 });
    await assert.rejects(clock.runUntil(read), /offset=40\): no bytes received for 2 s/);
    assert.equal(signals.length, 4);
    assert.ok(signals.every((signal) => signal?.aborted === true));
  });

  it('do not count the time that the consumer takes', async () => {
    const { clock, faulty, client, info } = await setUp();
    let size = 0;
    for await (const chunk of client.read(info)) {
      size += chunk.length;
      await clock.advance(60_000);
    }
    assert.equal(size, SIZE);
    assert.equal(faulty.count('read'), 1);
  });

  it('trust the end of a stream if the size is not known', async () => {
    const { faulty, client, info } = await setUp();
    faulty.inject({ operation: 'read', kind: 'truncate', amount: 12 });
    const { level, minTxid, maxTxid } = info;
    assert.equal((await readAll(client, { level, minTxid, maxTxid })).length, 12);
    assert.equal(faulty.count('read'), 1);
  });

  it('resume ranges, and never ask beyond their end', async () => {
    const { clock, faulty, client, info } = await setUp();
    const asked: ReadOptions[] = [];
    const recording = resumableReads(
      reading((key, options) => {
        asked.push({ offset: options.offset, size: options.size });
        return faulty.read(key, options);
      }),
      { clock },
    );
    faulty.inject({ operation: 'read', kind: 'partial', amount: 30 });
    const range = { offset: 1000, size: 100 };
    equal(await clock.runUntil(readRange(recording, info, range)), BYTES.subarray(1000, 1100));
    assert.deepEqual(asked, [
      { offset: 1000, size: 100 },
      { offset: 1030, size: 70 },
    ]);
    // A range that was delivered in full is complete, whatever comes after it and whether the size is known or not.
    const { level, minTxid, maxTxid } = info;
    for (const key of [info, { level, minTxid, maxTxid }]) {
      faulty.inject({ operation: 'read', kind: 'after' });
      equal(await readRange(client, key, range), BYTES.subarray(1000, 1100));
    }
    equal(
      await readRange(client, info, { offset: SIZE - 10, size: 100 }),
      BYTES.subarray(SIZE - 10),
    );
    equal(await readRange(client, info, { offset: SIZE + 10, size: 100 }), new Uint8Array());
  });

  it('pass on at once what no provider throws', async () => {
    const clock = new FakeClock();
    let reads = 0;
    const crash = new SimulatedCrash('dead');
    const client = resumableReads(
      // oxlint-disable-next-line require-yield -- fails before its first chunk
      reading(async function* () {
        reads++;
        await Promise.resolve();
        throw crash;
      }),
      { clock },
    );
    await assert.rejects(readAll(client, fileKey(0, 1)), (error) => error === crash);
    assert.equal(reads, 1);
  });

  it('deliver the right bytes under any three faults', async () => {
    const { clock, faulty, client, info } = await setUp();
    const fault = fc.record({
      kind: fc.constantFrom('before', 'partial', 'truncate', 'hang' as const),
      amount: fc.nat(SIZE - 1),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(fault, { maxLength: 3 }),
        fc.nat(SIZE),
        fc.nat(SIZE),
        async (faults, offset, size) => {
          faulty.reset();
          for (const each of faults) faulty.inject({ operation: 'read', ...each });
          const found = await clock.runUntil(collect(client.read(info, { offset, size })));
          equal(found, BYTES.subarray(offset, size === 0 ? SIZE : offset + size));
        },
      ),
      { numRuns: process.env['SLOW'] === undefined ? 60 : 2000 },
    );
  });
});
