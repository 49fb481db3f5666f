import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { LitestreamError } from '../../lib/errors.ts';
import {
  FakeClock,
  FaultyClient,
  fileKey,
  listAll,
  ltxLike,
  MemoryClient,
  RecordedMetrics,
  replicaClientSuite,
} from '../../testing/index.ts';
import { bytesSource, collect, readAll, type ReplicaClient } from '../index.ts';
import { withMetrics } from './with-metrics.ts';

const BYTES = ltxLike(5000);
const TOTAL = 'litestream_replica_operation_total';
const SIZES = 'litestream_replica_operation_bytes';
const SECONDS = 'litestream_replica_operation_duration_seconds';
const ERRORS = 'litestream_replica_operation_errors_total';

replicaClientSuite('memory, operations counted', () => {
  const store = new MemoryClient().store;
  const ports = { clock: new FakeClock(), metrics: new RecordedMetrics() };
  return Promise.resolve({
    open: (path) => Promise.resolve(withMetrics(new MemoryClient({ store, path }), ports)),
    keys: () => Promise.resolve([...store.keys()]),
    dispose: () => Promise.resolve(),
  });
});

function setUp(own: Partial<ReplicaClient> = {}): {
  clock: FakeClock;
  metrics: RecordedMetrics;
  faulty: FaultyClient;
  client: ReplicaClient;
} {
  const clock = new FakeClock();
  const metrics = new RecordedMetrics();
  const faulty = new FaultyClient(new MemoryClient());
  const client = withMetrics(Object.assign(faulty, own), { clock, metrics });
  return { clock, metrics, faulty, client };
}

function labels(operation: string): Record<string, string> {
  return { operation, replica_type: 'memory' };
}

describe('counted operations', () => {
  it('OPS-10 count writes, reads, listings and deleted objects, with payload and duration', async () => {
    const { client, metrics } = setUp();
    const first = await client.write(fileKey(0, 1), bytesSource(BYTES));
    await client.write(fileKey(0, 2), bytesSource(BYTES));
    assert.equal((await readAll(client, first)).length, 5000);
    assert.equal((await listAll(client, 0)).length, 2);
    await client.delete([fileKey(0, 1), fileKey(0, 2)]);
    assert.deepEqual(metrics.values, {
      [`${TOTAL}{operation="PUT",replica_type="memory"}`]: 2,
      [`${SIZES}{operation="PUT",replica_type="memory"}`]: 10_000,
      [`${TOTAL}{operation="GET",replica_type="memory"}`]: 1,
      [`${SIZES}{operation="GET",replica_type="memory"}`]: 5000,
      [`${TOTAL}{operation="LIST",replica_type="memory"}`]: 1,
      [`${TOTAL}{operation="DELETE",replica_type="memory"}`]: 2,
    });
    assert.equal(metrics.observations(SECONDS, labels('PUT')).length, 2);
    assert.equal(metrics.observations(SECONDS, labels('DELETE')).length, 1);
  });

  it('count what arrived of a stream that is left early', async () => {
    const { client, metrics } = setUp();
    const info = await client.write(fileKey(0, 1), bytesSource(ltxLike(300_000)));
    for await (const chunk of client.read(info)) {
      assert.ok(chunk.length < 300_000);
      break;
    }
    assert.equal(metrics.get(TOTAL, labels('GET')), 1);
    const received = metrics.get(SIZES, labels('GET')) ?? 0;
    assert.ok(received > 0 && received < 300_000);
  });

  it('count a download into memory when it is closed, or as an error when it breaks', async () => {
    const breaks = new LitestreamError('ERR_STORAGE', 'gone', { details: { code: 'Broken' } });
    const fills = [() => 3, () => 4, () => Promise.reject(breaks)];
    const { client, metrics } = setUp({
      open: () =>
        Promise.resolve({
          fill: async () => (await fills.shift()?.()) ?? 0,
          close: () => undefined,
        }),
    });
    const [GET, target] = [labels('GET'), new Uint8Array(10)];
    const whole = await client.open?.(fileKey(0, 1));
    await whole?.fill(target);
    await whole?.fill(target);
    assert.equal(metrics.get(TOTAL, GET), undefined);
    whole?.close();
    whole?.close();
    assert.equal(metrics.get(TOTAL, GET), 1);
    assert.equal(metrics.get(SIZES, GET), 7);
    const broken = await client.open?.(fileKey(0, 1));
    await assert.rejects(async () => broken?.fill(target), breaks);
    broken?.close();
    assert.equal(metrics.get(TOTAL, GET), 1);
    assert.equal(metrics.get(ERRORS, { ...GET, code: 'Broken' }), 1);
  });

  it('do not count the time that the consumer takes', async () => {
    const { client, clock, metrics } = setUp();
    const info = await client.write(fileKey(0, 1), bytesSource(BYTES));
    for await (const chunk of client.read(info)) {
      assert.ok(chunk.length > 0);
      await clock.advance(60_000);
    }
    assert.deepEqual(metrics.observations(SECONDS, labels('GET')), [0]);
  });

  for (const [name, error, code] of [
    ["the service's code", storageError({ code: 'AccessDenied', status: 403 }), 'AccessDenied'],
    ['the HTTP status', storageError({ status: 503 }), '503'],
    ["the system's name", storageError({ errno: 'ENOTDIR' }), 'ENOTDIR'],
    ['the cause', new LitestreamError('ERR_STORAGE', 'x', { cause: systemError() }), 'ECONNRESET'],
    ['our code', storageError({}), 'ERR_STORAGE'],
    ['nothing but a failure', new Error('x'), 'ERR_UNKNOWN'],
  ] as const) {
    it(`name a failure by ${name}`, async () => {
      const { client, metrics } = setUp({ write: () => Promise.reject(error) });
      await assert.rejects(client.write(fileKey(0, 1), bytesSource(BYTES)), error);
      assert.equal(metrics.get(ERRORS, { ...labels('PUT'), code }), 1);
      assert.equal(metrics.get(TOTAL, labels('PUT')), undefined);
    });
  }

  it('count a stream that breaks as an error, not as an operation', async () => {
    const { client, faulty, metrics } = setUp();
    const info = await client.write(fileKey(0, 1), bytesSource(BYTES));
    faulty.inject({ operation: 'read', kind: 'partial', amount: 100 });
    await assert.rejects(collect(client.read(info)));
    assert.equal(metrics.get(TOTAL, labels('GET')), undefined);
    assert.equal(metrics.get(ERRORS, { ...labels('GET'), code: 'ERR_STORAGE_TEMPORARY' }), 1);
  });

  it('do not take an answer that was asked for as an error', async () => {
    const { client, metrics } = setUp();
    await assert.rejects(readAll(client, fileKey(0, 9)), { code: 'ERR_STORAGE_NOT_FOUND' });
    await client.write(fileKey(0, 1), bytesSource(BYTES));
    await assert.rejects(client.write(fileKey(0, 1), bytesSource(BYTES), { ifAbsent: true }), {
      code: 'ERR_STORAGE_EXISTS',
    });
    assert.deepEqual(
      Object.keys(metrics.values).filter((series) => series.startsWith(ERRORS)),
      [],
    );
  });
});

function storageError(details: Record<string, unknown>): LitestreamError {
  return new LitestreamError('ERR_STORAGE', 'refused', { details });
}

function systemError(): Error {
  return Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' });
}
