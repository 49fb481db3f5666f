/** Rows of the failure catalogue about restoring; those that other tests of this folder prove are named there. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { toTxid } from '../formats/ltx/index.ts';
import { systemClock } from '../lib/clock.ts';
import { LitestreamError } from '../lib/errors.ts';
import { nodeFileSystem } from '../lib/file-system.ts';
import type { ReadKey, ReadOptions, ReplicaClient } from '../storage/index.ts';
import { noopLogger } from '../telemetry/index.ts';
import { FakeClock } from '../testing/fake-clock.ts';
import { FaultyFileSystem } from '../testing/faulty-file-system.ts';
import { MemoryClient } from '../testing/memory-client.ts';
import { randomNumbers } from '../testing/random.ts';
import { type RestoreOptions, restoreDatabase } from './index.ts';
import {
  concat,
  encodeTestFile,
  mergeFiles,
  pagesOf,
  putFile,
  type TestFile,
} from './test-replica.ts';

const folder = mkdtempSync(join(tmpdir(), 'restore-failures-'));
after(() => rmSync(folder, { recursive: true }));

let outputs = 0;

async function restored(
  client: ReplicaClient,
  more: Partial<RestoreOptions> = {},
): Promise<Uint8Array> {
  const outputPath = join(folder, `${outputs++}.db`);
  const ports = { fileSystem: nodeFileSystem, clock: systemClock, logger: noopLogger };
  await restoreDatabase({ client, outputPath, target: {}, ...ports, ...more });
  return readFileSync(outputPath);
}

async function replicaOf(files: readonly TestFile[], pageSize: number): Promise<MemoryClient> {
  const client = new MemoryClient();
  for (const file of files) await putFile(client, file, pageSize);
  return client;
}

function noise(seed: number, size: number): Uint8Array {
  const random = randomNumbers(seed);
  return Uint8Array.from({ length: size }, () => Math.floor(random() * 256));
}

const page = (fill: number, pageSize = 512): Uint8Array<ArrayBuffer> =>
  new Uint8Array(pageSize).fill(fill);

/** The client with other bytes. */
function reading(
  inner: ReplicaClient,
  read: (key: ReadKey, options: ReadOptions) => AsyncIterable<Uint8Array>,
): ReplicaClient {
  return {
    type: inner.type,
    location: inner.location,
    init: (options) => inner.init(options),
    list: (level, options) => inner.list(level, options),
    read: (key, options = {}) => read(key, options),
    write: (key, source, options) => inner.write(key, source, options),
    delete: (keys, options) => inner.delete(keys, options),
    deleteAll: (options) => inner.deleteAll(options),
    close: () => inner.close(),
  };
}

/** Single files of level 0, TXID n fills page n and page 1 with n; created at n seconds. */
function steps(count: number): TestFile[] {
  return Array.from({ length: count }, (_, at) => {
    const txid = at + 1;
    const pages = [{ pgno: 1, data: page(txid) }];
    if (txid > 1) pages.push({ pgno: txid, data: page(txid) });
    return { level: 0, min: txid, max: txid, commit: txid, pages };
  });
}

/** The state that {@link steps} leads to. */
function stateAt(txid: number): Uint8Array {
  return concat([page(txid), ...Array.from({ length: txid - 1 }, (_, at) => page(at + 2))]);
}

test('RST-03 a store that cuts every answer short ends a restore soon', async () => {
  const image = Array.from({ length: 300 }, (_, at) => noise(at, 4096));
  const files = [{ level: 9, min: 1, max: 1, commit: 300, pages: pagesOf(image) }];
  const memory = await replicaOf(files, 4096);
  let requests = 0;
  const client = reading(memory, async function* (key, options) {
    requests += 1;
    for await (const bytes of memory.read(key, options)) {
      yield bytes.subarray(0, 1000);
      return;
    }
  });
  const clock = new FakeClock();
  const timer = setInterval(() => void clock.advance(1000), 1);
  try {
    await assert.rejects(restored(client, { clock }), /max retries exceeded reading ltx file/);
    assert.ok(requests <= 40, `${requests} requests`);
  } finally {
    clearInterval(timer);
  }
});

test('RST-03 a store that closes every stream that has to wait does not end a restore', async () => {
  const image = Array.from({ length: 300 }, (_, at) => noise(at, 4096));
  const change = (txid: number): TestFile => {
    const pages = image.slice(txid * 50, txid * 50 + 90).map((data, at) => ({
      pgno: txid * 50 + at + 1,
      data: data.map((byte) => byte ^ txid),
    }));
    return { level: 0, min: txid, max: txid, commit: 300, pages };
  };
  const files = [
    { level: 9, min: 1, max: 1, commit: 300, pages: pagesOf(image) },
    change(2),
    change(3),
  ];
  const memory = await replicaOf(files, 4096);
  let served = 0;
  let closed = 0;
  const client = reading(memory, async function* (key, options) {
    let last: number | undefined;
    for await (const bytes of memory.read(key, options)) {
      for (let at = 0; at < bytes.length; at += 4096) {
        // Another stream was served meanwhile: this one had to wait.
        if (last !== undefined && served > last) {
          closed += 1;
          const message = 'read ECONNRESET';
          throw new LitestreamError('ERR_STORAGE_TEMPORARY', message, { retryable: true });
        }
        last = served += 1;
        yield bytes.subarray(at, at + 4096);
        await Promise.resolve();
      }
    }
  });
  const clock = new FakeClock();
  const timer = setInterval(() => void clock.advance(1000), 1);
  try {
    const found = await restored(client, { clock });
    const expected = concat(mergeFiles(files, 9).pages.map(({ data }) => data));
    assert.ok(Buffer.compare(found, expected) === 0);
    assert.ok(closed > 0, 'no stream was closed');
  } finally {
    clearInterval(timer);
  }
});

test('RST-10 everything is durable before the file has its name, and the name before the end', async () => {
  const fileSystem = new FaultyFileSystem(nodeFileSystem);
  await restored(await replicaOf(steps(5), 512), { fileSystem });
  const { calls } = fileSystem;
  const at = (label: string): number => calls.indexOf(label);
  assert.ok(at('restore:sync') > 0);
  assert.ok(at('restore:publish') > at('restore:sync'));
  assert.ok(at('restore:sync-folder') > at('restore:publish'));
  const late = calls.slice(at('restore:sync') + 1, at('restore:publish'));
  assert.deepEqual(
    late.filter((label) => /write|truncate|page/.test(label)),
    [],
  );
});

test('RST-14 a large file is fetched over several connections, as many as allowed', async () => {
  const image = Array.from({ length: 800 }, () => randomBytes(65536));
  const file = { level: 9, min: 1, max: 1, commit: 800, pages: pagesOf(image) };
  const memory = await replicaOf([file], 65536);
  for (const [parallelism, expected] of [
    [8, 5],
    [2, 2],
  ] as const) {
    let open = 0;
    let most = 0;
    let bytesRead = 0;
    const enough = Promise.withResolvers<void>();
    const client = reading(memory, async function* (key, options) {
      open += 1;
      most = Math.max(most, open);
      if (most >= expected) enough.resolve();
      const parts: Uint8Array[] = [];
      for await (const bytes of memory.read(key, options)) parts.push(bytes);
      // No large request is answered before so many have arrived.
      if ((options.size ?? 0) > 1 << 20) await enough.promise;
      open -= 1;
      for (const bytes of parts) {
        bytesRead += bytes.length;
        yield bytes;
      }
    });
    const found = await restored(client, { parallelism });
    assert.ok(Buffer.compare(found, Buffer.concat(image)) === 0);
    assert.ok(most >= expected && most <= parallelism, `${most} requests at once`);
    assert.ok(bytesRead < 1.2 * found.length, `${bytesRead} bytes were read`);
  }
});

test('RST-17 plans of every shape come to an end', async () => {
  const files = steps(12);
  const snapshot = mergeFiles(files.slice(0, 8), 9);
  const shapes: readonly (readonly [string, readonly TestFile[], number])[] = [
    ['a snapshot alone', [snapshot], 8],
    ['a snapshot and increments', [snapshot, ...files.slice(8)], 12],
    ['increments alone', files, 12],
    ['one file', files.slice(0, 1), 1],
    ['one compacted file', [mergeFiles(files, 3)], 12],
  ];
  for (const [what, plan, txid] of shapes) {
    for (const parallelism of [1, 8]) {
      const found = await restored(await replicaOf(plan, 512), { parallelism });
      assert.deepEqual([...found], [...stateAt(txid)], what);
    }
  }
});

test('RST-25 a damaged size field takes no memory', async () => {
  const file = { level: 0, min: 1, max: 1, commit: 1, pages: pagesOf([page(1)]) };
  for (const size of [0xffff_fff0, 0x7fff_ffff, 0x1000_0000, 0x0010_0000]) {
    const bytes = encodeTestFile(file, 512);
    new DataView(bytes.buffer).setUint32(106, size);
    const memory = new MemoryClient();
    memory.putForeign(0, '0000000000000001-0000000000000001.ltx', bytes);
    const before = process.memoryUsage();
    await assert.rejects(restored(memory), { code: 'ERR_LTX_CORRUPTED' });
    const now = process.memoryUsage();
    assert.ok(now.arrayBuffers - before.arrayBuffers < 64 << 20, String(now.arrayBuffers));
    assert.ok(now.rss - before.rss < 256 << 20, String(now.rss));
  }
});

test('CMP-03 times are found although level 0 is gone', async () => {
  const files = steps(20);
  const level1 = [mergeFiles(files.slice(0, 5), 1), mergeFiles(files.slice(5, 10), 1)];
  level1.push(mergeFiles(files.slice(10, 15), 1), mergeFiles(files.slice(15, 20), 1));
  const snapshots = [mergeFiles(files.slice(0, 7), 9), mergeFiles(files.slice(0, 15), 9)];
  const client = await replicaOf([...level1, ...snapshots], 512);
  // Each file is of the second that its last TXID names; a target excludes files of that very time.
  for (const [timestampMs, txid] of [
    [5001, 5],
    [7000, 5],
    [7001, 7],
    [10_000, 7],
    [10_001, 10],
    [15_000, 10],
    [15_001, 15],
    [20_001, 20],
    [99_000, 20],
  ] as const) {
    const found = await restored(client, { target: { timestampMs } });
    assert.deepEqual([...found], [...stateAt(txid)], String(timestampMs));
  }
  for (const txid of [7, 15, 20]) {
    const found = await restored(client, { target: { txid: toTxid(txid) } });
    assert.deepEqual([...found], [...stateAt(txid)]);
  }
  await assert.rejects(restored(client, { target: { timestampMs: 5000 } }), {
    code: 'ERR_TX_NOT_AVAILABLE',
    details: { timestampMs: 5000, reached: 0n, oldestMs: 5000, newestMs: 20_000 },
  });
});
