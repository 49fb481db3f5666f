/** What goes over the wire to Google Cloud Storage, and what breaks there, in front of an emulator. */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { systemClock } from '../../src/lib/clock.ts';
import type { LitestreamError } from '../../src/lib/errors.ts';
import { nodeFileSystem } from '../../src/lib/file-system.ts';
import {
  bytesSource,
  collect,
  readAll,
  readRange,
  type ReplicaClient,
} from '../../src/storage/index.ts';
import { createGsClient, type GsOptions } from '../../src/storage/providers/gs/index.ts';
import { chunkedSource, fileKey, listAll, ltxLike } from '../../src/testing/index.ts';
import {
  answers,
  type FakeGcsServer,
  first,
  startFakeGcsServer,
} from '../support/servers/index.ts';
import { checkedLogger, guarded } from '../support/guarded.ts';

const MIB = 1024 * 1024;
const KEY = 'p/ltx/0/0000000000000001-0000000000000001.ltx';

interface Bench {
  readonly server: FakeGcsServer;
  readonly client: ReplicaClient;
  open(path?: string, options?: Partial<GsOptions> & { bucket?: string }): ReplicaClient;
  /** Stores an object as another program would. */
  put(name: string, bytes: Uint8Array): Promise<void>;
  names(): Promise<string[]>;
}

async function makeBench(t: TestContext): Promise<Bench | undefined> {
  const server = await startFakeGcsServer(t);
  if (server === undefined) return undefined;
  const environment = { STORAGE_EMULATOR_HOST: server.emulatorHost };
  const ports = { clock: systemClock, fileSystem: nodeFileSystem, environment };
  const open: Bench['open'] = (path = 'p', { bucket = server.bucket, ...options } = {}) => {
    // Retries follow each other at once.
    const all = { ...ports, logger: checkedLogger(), random: () => 0, ...options };
    const client = guarded(createGsClient({ type: 'gs', bucket, path }, all));
    t.after(() => client.close());
    return client;
  };
  const base = `http://127.0.0.1:${server.server.port}`;
  return {
    server,
    open,
    client: open(),
    async put(name, bytes) {
      const query = `uploadType=media&name=${encodeURIComponent(name)}`;
      const url = `${base}/upload/storage/v1/b/${server.bucket}/o?${query}`;
      const answer = await fetch(url, { method: 'POST', body: Buffer.from(bytes) });
      assert.ok(answer.ok, String(answer.status));
    },
    async names() {
      const answer = await fetch(`${base}/storage/v1/b/${server.bucket}/o`);
      const { items = [] } = (await answer.json()) as { items?: { name: string }[] };
      return items.map(({ name }) => name);
    },
  };
}

async function failureOf(work: Promise<unknown>): Promise<LitestreamError> {
  try {
    await work;
  } catch (error) {
    return error as LitestreamError;
  }
  return assert.fail('it worked');
}

/** Registers a test with a server of its own; it skips where there is none. */
function check(name: string, body: (bench: Bench, t: TestContext) => Promise<void>): void {
  it(name, async (t) => {
    const bench = await makeBench(t);
    if (bench !== undefined) await body(bench, t);
  });
}

describe('uploads to Google Cloud Storage', () => {
  check('take one request for a small file, with time, digest and length', async (bench) => {
    const bytes = ltxLike(1000, 1_767_323_045_670);
    await bench.client.write(fileKey(0, 1), chunkedSource(bytes, 300));
    const [only, ...others] = bench.server.proxy.exchanges;
    assert.equal(others.length, 0);
    assert.equal(
      `${only?.method} ${only?.target}`,
      'POST /upload/storage/v1/b/testbucket/o?uploadType=multipart',
    );
    assert.equal(only?.headers['content-length'], String(only?.body.length));
    const [, metadata = ''] = /\r\n\r\n(\{.*\})\r\n/.exec(String(only.body)) ?? [];
    assert.partialDeepStrictEqual(JSON.parse(metadata), {
      name: KEY,
      metadata: { 'litestream-timestamp': '2026-01-02T03:04:05.67Z' },
    });
    assert.match(metadata, /"md5Hash":"[A-Za-z0-9+/]{22}=="/);
  });

  check('never replace a file with ifAbsent', async (bench) => {
    for (const size of [500, 9 * MIB]) {
      const key = fileKey(0, size);
      const old = ltxLike(size, 1, 1);
      await bench.client.write(key, bytesSource(old), { ifAbsent: true });
      const again = bench.client.write(key, bytesSource(ltxLike(size, 2, 2)), { ifAbsent: true });
      const error = await failureOf(again);
      assert.equal(error.code, 'ERR_STORAGE_EXISTS', error.message);
      assert.ok(Buffer.from(old).equals(await readAll(bench.client, key)));
    }
    const posts = bench.server.proxy.where('POST').map(({ target }) => target);
    assert.ok(posts.every((target) => target.endsWith('&ifGenerationMatch=0')));
  });

  check('say that the file exists when the answer to the first attempt is lost', async (bench) => {
    bench.server.proxy.fault = first(1, { kind: 'lose-answer' });
    const write = bench.client.write(fileKey(0, 1), bytesSource(ltxLike(500)), { ifAbsent: true });
    // Whose file it is, the caller finds out.
    assert.equal((await failureOf(write)).code, 'ERR_STORAGE_EXISTS');
    assert.deepEqual(await bench.names(), [KEY]);
  });
});

describe('requests to Google Cloud Storage', () => {
  check(
    'are repeated after 429, 503 and broken connections, deletes as well (BKD-23)',
    async (bench) => {
      await bench.client.write(fileKey(0, 1), bytesSource(ltxLike(300)));
      for (const fault of [answers(5, 429), answers(3, 503), first(2, { kind: 'refuse' })]) {
        bench.server.proxy.fault = fault;
        assert.equal((await listAll(bench.client, 0)).length, 1);
      }
      bench.server.proxy.fault = first(1, { kind: 'lose-answer' });
      await bench.client.delete([fileKey(0, 1)]);
      assert.deepEqual(await bench.names(), []);
    },
  );

  check('end within a bound, naming status and object (BKD-23)', async (bench) => {
    bench.server.proxy.fault = answers(1000, 503);
    const error = await failureOf(readAll(bench.client, fileKey(0, 1)));
    assert.equal(error.code, 'ERR_STORAGE_TEMPORARY');
    assert.match(error.message, new RegExp(`^gs: get object "${KEY}": .*10 attempts.*HTTP 503`));
    bench.server.proxy.fault = undefined;
    assert.deepEqual(await listAll(bench.client, 0), [], 'a long outage costs later calls nothing');
  });

  check('that are refused say what the store says, and what to do', async (bench) => {
    const body = JSON.stringify({
      error: { code: 403, message: 'denied to me', errors: [{ reason: 'forbidden' }] },
    });
    bench.server.proxy.fault = () => ({ kind: 'answer', status: 403, body });
    const error = await failureOf(listAll(bench.client, 0));
    assert.equal(error.code, 'ERR_STORAGE_DENIED');
    assert.equal(
      error.message,
      'failed to list objects in GCS bucket testbucket (path: p): HTTP 403: denied to me',
    );
    assert.match(error.hint ?? '', /role on bucket testbucket/);
    assert.equal(bench.server.proxy.exchanges.length, 1, 'once');
  });

  check('beyond a rate limit are repeated although their status says refused', async (bench) => {
    const body = JSON.stringify({ error: { errors: [{ reason: 'rateLimitExceeded' }] } });
    bench.server.proxy.fault = first(2, { kind: 'answer', status: 403, body });
    assert.deepEqual(await listAll(bench.client, 0), []);
    assert.equal(bench.server.proxy.exchanges.length, 3);
  });

  check('to a bucket that does not exist name it', async (bench) => {
    const client = bench.open('p', { bucket: 'nosuchbucket' });
    const works = [
      () => listAll(client, 0),
      () => client.write(fileKey(0, 1), bytesSource(ltxLike(200))),
      () => client.deleteAll(),
    ];
    for (const work of works) {
      const error = await failureOf(work());
      assert.equal(error.code, 'ERR_STORAGE');
      assert.match(error.message, /bucket "nosuchbucket" doesn't exist/);
    }
    const body = JSON.stringify({ error: { message: 'The specified bucket does not exist.' } });
    bench.server.proxy.fault = () => ({ kind: 'answer', status: 404, body });
    assert.equal((await failureOf(readAll(client, fileKey(0, 1)))).code, 'ERR_STORAGE');
    assert.equal((await failureOf(client.delete([fileKey(0, 1)]))).code, 'ERR_STORAGE');
  });

  check('ask for ranges, and take a body that ends early for an error (BKD-06)', async (bench) => {
    const bytes = ltxLike(100_000);
    await bench.client.write(fileKey(0, 1), bytesSource(bytes));
    const part = await readRange(bench.client, fileKey(0, 1), { offset: 10, size: 5 });
    assert.deepEqual(part, bytes.subarray(10, 15));
    await readAll(bench.client, fileKey(0, 1));
    const asked = bench.server.proxy.where('GET').map(({ headers }) => headers['range']);
    assert.deepEqual(asked, ['bytes=10-14', undefined]);
    for (const how of ['end', 'reset'] as const) {
      bench.server.proxy.fault = first(1, { kind: 'cut', bytes: 1000, how });
      const error = await failureOf(readAll(bench.client, fileKey(0, 1)));
      assert.equal(error.code, 'ERR_STORAGE_TEMPORARY');
      assert.match(error.message, new RegExp(`^gs: get object "${KEY}": `));
    }
  });

  check('of a listing follow every page and begin at seek', async (bench) => {
    for (const txid of [1, 2, 3, 40]) {
      await bench.client.write(fileKey(0, txid), bytesSource(ltxLike(100)));
    }
    const files = await listAll(bench.client, 0, 2);
    assert.deepEqual(
      files.map(({ minTxid }) => minTxid),
      [2n, 3n, 40n],
    );
    const [{ target } = assert.fail('no request')] = bench.server.proxy.where('GET');
    assert.match(target, /[?&]startOffset=p%2Fltx%2F0%2F0000000000000002&?/);
    assert.match(target, /[?&]prefix=p%2Fltx%2F0%2F&/);
  });
});

describe('objects of other programs in Google Cloud Storage', () => {
  check('without a time get that of their headers, which is said once (BKD-09)', async (bench) => {
    const lines: string[] = [];
    const logger = checkedLogger((level, message) => {
      lines.push(`${level} ${message}`);
    });
    const client = bench.open('p', { logger });
    await bench.put(KEY, ltxLike(300, 1_600_000_000_123));
    await bench.put(KEY.replaceAll('1.ltx', '2.ltx'), ltxLike(300, 1_600_000_000_456));
    const times = (await listAll(client, 0)).map(({ createdAt }) => createdAt);
    assert.deepEqual(times, [1_600_000_000_123, 1_600_000_000_456]);
    assert.deepEqual(lines, ['warn object has no timestamp, reading it from the ltx header']);
    for await (const { createdAt } of client.list(0)) assert.ok(createdAt > 1_600_000_001_000);
  });

  check('stay when everything goes and the replica has no path', async (bench) => {
    for (const path of ['', '.']) {
      const client = bench.open(path);
      await client.write(fileKey(0, 1), bytesSource(ltxLike(200)));
      await bench.put('generations/0123456789abcdef/snapshots/00000000.snapshot.lz4', ltxLike(9));
      await bench.put('photo.jpg', ltxLike(9));
      assert.ok((await bench.names()).includes(KEY.slice(2)));
      await client.deleteAll();
      assert.deepEqual(await bench.names(), ['photo.jpg']);
    }
  });

  check('of Litestream v0.3 are listed and read', async (bench) => {
    const name = 'generations/0123456789abcdef/wal/00000000_00000000.wal.lz4';
    const bytes = ltxLike(500);
    await bench.put(`p/${name}`, bytes);
    await bench.put('p/generations-not', bytes);
    const found = [];
    for await (const object of bench.client.listObjects?.('generations') ?? []) found.push(object);
    const [object] = found;
    assert.deepEqual(
      found.map(({ key, size }) => [key, size]),
      [[name, 500]],
    );
    assert.ok(object !== undefined && object.modifiedAt > 1_600_000_000_000);
    const read = bench.client.readObject?.(object, { offset: 100, size: 50 }) ?? [];
    assert.deepEqual(await collect(read as AsyncIterable<Uint8Array>), bytes.subarray(100, 150));
  });
});
