import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { answers, type Exchange, first } from '../../../../test/support/servers/index.ts';
import { OssServer, type OssServerOptions } from '../../../../test/support/servers/oss-server.ts';
import { systemClock, yieldToLoop } from '../../../lib/clock.ts';
import type { LitestreamError } from '../../../lib/errors.ts';
import type { Logger } from '../../../telemetry/index.ts';
import { chunkedSource, fileKey, listAll, ltxLike } from '../../../testing/index.ts';
import type { ReplicaClient, WriteSource } from '../../contract.ts';
import type { OssLocation } from '../../locations.ts';
import { bytesSource } from '../../sources.ts';
import { readAll, readRange } from '../../streams.ts';
import { createOssClient, type OssOptions } from './index.ts';
import { concurrencyFor, partSizeFor } from './upload.ts';
import { checkedLogger, guarded } from '../../../../test/support/guarded.ts';
import { makeSecret } from '../../../../test/support/secrets.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const PART = 128 * KIB;
/** Four parts and a bit. */
const LARGE = 4 * PART + 1000;
const KEY = 'p/0000/0000000000000001-0000000000000001.ltx';

interface Bench {
  readonly server: OssServer;
  readonly client: ReplicaClient;
  open(location?: Partial<OssLocation>, options?: Partial<OssOptions>): ReplicaClient;
}

async function makeBench(t: TestContext, options?: OssServerOptions): Promise<Bench> {
  const server = await OssServer.start(t, options);
  const open: Bench['open'] = (location, ports) => {
    const client = createOssClient(
      {
        type: 'oss',
        bucket: server.bucket,
        path: 'p',
        region: server.region,
        endpoint: server.endpoint,
        accessKeyId: server.accessKeyId,
        secretAccessKey: server.accessKeySecret,
        partSizeBytes: PART,
        concurrency: undefined,
        ...location,
      },
      // Retries follow each other at once.
      { clock: systemClock, random: () => 0, logger: checkedLogger(), ...ports },
    );
    t.after(() => client.close());
    return guarded(client);
  };
  return { server, open, client: open() };
}

function requests({ server }: Bench): string[] {
  return server.proxy.exchanges.map(({ method, target }) => {
    const [path = '', query = ''] = target.replace(`/${server.bucket}/`, '').split('?');
    return `${method} ${path}${query === '' ? '' : `?${query.replace(/=.*/, '')}`}`;
  });
}

async function failureOf(work: Promise<unknown>): Promise<LitestreamError> {
  try {
    await work;
  } catch (error) {
    return error as LitestreamError;
  }
  return assert.fail('it worked');
}

describe('uploads to OSS', () => {
  it('take one request for a small file, with its time and digest', async (t) => {
    const bench = await makeBench(t);
    await bench.client.write(fileKey(0, 1), bytesSource(ltxLike(1000, 1_767_323_045_670)));
    assert.deepEqual(requests(bench), [`PUT ${KEY}`]);
    const [{ headers } = assert.fail('no request')] = bench.server.proxy.exchanges;
    assert.equal(headers['x-oss-meta-litestream-timestamp'], '2026-01-02T03:04:05.67Z');
    assert.equal(headers['content-length'], '1000');
    assert.match(headers['content-md5'] ?? '', /^[A-Za-z0-9+/]{22}==$/);
    assert.match(headers['user-agent'] ?? '', /litestream/);
  });

  it('are in parts above the part size, a few at the same time', async (t) => {
    const bench = await makeBench(t);
    const { proxy, objects, uploads } = bench.server;
    const delayMs = 500;
    proxy.fault = ({ method }) => (method === 'PUT' ? { kind: 'delay', ms: delayMs } : undefined);
    const bytes = ltxLike(LARGE, 1_700_000_000_001);
    await bench.client.write(fileKey(0, 1), chunkedSource(bytes, 5000));
    const begun = proxy.where('PUT').map(({ at }) => at);
    const together = begun.map((at) => begun.filter((t) => t <= at && t > at - delayMs).length);
    const most = Math.max(...together);
    assert.ok(most > 1 && most <= 3, `${most} parts at the same time`);
    assert.deepEqual(
      new Set(requests(bench)),
      new Set([
        `POST ${KEY}?uploads`,
        `PUT ${KEY}?partNumber`,
        `POST ${KEY}?uploadId`,
        'GET ?encoding-type',
      ]),
    );
    const parts = proxy.where('PUT').map(({ body }) => body.length);
    assert.deepEqual(
      parts.toSorted((a, b) => b - a),
      [PART, PART, PART, PART, 1000],
    );
    assert.ok(objects.get(KEY)?.bytes.equals(bytes));
    const time = objects.get(KEY)?.headers['x-oss-meta-litestream-timestamp'];
    assert.equal(time, '2023-11-14T22:13:20.001Z');
    assert.equal(uploads.size, 0);
  });

  it('never have more than 9000 parts, and hold a bounded part of the file in memory (BKD-07, BKD-08)', () => {
    for (const size of [1, 5 * MIB, 5 * MIB + 1, 48 * 1024 * MIB, 5 * 1024 * 1024 * MIB]) {
      const part = partSizeFor(size);
      assert.ok(Math.ceil(size / part) <= 9000, `${size} bytes`);
      assert.ok(part >= 5 * MIB);
      assert.ok(part * concurrencyFor(part) <= Math.max(64 * MIB, part), `${size} bytes`);
    }
    assert.equal(partSizeFor(1000, 1), 100 * KIB, 'the smallest that the service takes');
    assert.equal(partSizeFor(1000, 7 * MIB), 7 * MIB);
    assert.equal(concurrencyFor(5 * MIB), 3);
    assert.equal(concurrencyFor(5 * MIB, 8), 8);
    assert.equal(concurrencyFor(200 * MIB, 8), 1);
  });

  it('repeat only the part that fails (BKD-07)', async (t) => {
    const bench = await makeBench(t);
    const second = ({ target }: Exchange): boolean => target.includes('partNumber=2');
    bench.server.proxy.fault = answers(2, 503, { match: second });
    const bytes = ltxLike(LARGE);
    await bench.client.write(fileKey(0, 1), bytesSource(bytes));
    assert.ok(bench.server.objects.get(KEY)?.bytes.equals(bytes));
    const parts = bench.server.proxy.where('PUT').map(({ target }) => target.match(/\d+/)?.[0]);
    assert.equal(bench.server.proxy.where('PUT').filter(second).length, 3);
    assert.equal(parts.length, 7);
  });

  it('end the upload in parts when one of them fails for good, and tell that failure', async (t) => {
    const bench = await makeBench(t);
    const third = ({ target }: Exchange): boolean => target.includes('partNumber=3');
    bench.server.proxy.fault = answers(1, 403, { match: third });
    const error = await failureOf(bench.client.write(fileKey(0, 1), bytesSource(ltxLike(LARGE))));
    assert.equal(error.code, 'ERR_STORAGE_DENIED');
    assert.match(error.message, new RegExp(`^oss: upload to ${KEY}: .*403`));
    assert.equal(bench.server.uploads.size, 0);
    assert.equal(bench.server.objects.size, 0);
  });

  it('notice that an upload was completed although the answer was lost', async (t) => {
    const bench = await makeBench(t);
    bench.server.proxy.fault = first(
      1,
      { kind: 'lose-answer' },
      ({ method, target }) => method === 'POST' && target.includes('uploadId='),
    );
    const bytes = ltxLike(LARGE);
    const written = await bench.client.write(fileKey(0, 1), bytesSource(bytes));
    assert.equal(written.size, LARGE);
    assert.ok(bench.server.objects.get(KEY)?.bytes.equals(bytes));
  });

  it('do not take another object for an upload whose answer was lost', async (t) => {
    const bench = await makeBench(t);
    const { server } = bench;
    server.put(KEY, ltxLike(LARGE + 1));
    server.proxy.fault = ({ method, target }) => {
      if (method === 'POST' && target.includes('uploadId=')) {
        server.uploads.clear();
        return bench.server.proxy.where('POST', /uploadId=/).length === 1
          ? { kind: 'refuse' }
          : undefined;
      }
      return undefined;
    };
    const error = await failureOf(bench.client.write(fileKey(0, 1), bytesSource(ltxLike(LARGE))));
    assert.equal(error.code, 'ERR_STORAGE_TEMPORARY');
    assert.equal(error.retryable, true);
    assert.match(error.message, /NoSuchUpload/);
  });

  it('never replace a file with ifAbsent, in one request or in parts', async (t) => {
    const bench = await makeBench(t);
    for (const size of [500, LARGE]) {
      const key = fileKey(0, size);
      const old = ltxLike(size, 1, 1);
      await bench.client.write(key, bytesSource(old), { ifAbsent: true });
      const write = bench.client.write(key, bytesSource(ltxLike(size, 2, 2)), { ifAbsent: true });
      await assert.rejects(write, { code: 'ERR_STORAGE_EXISTS' });
      assert.deepEqual(await readAll(bench.client, key), old);
    }
    assert.equal(bench.server.uploads.size, 0);
  });

  it('with ifAbsent notice a file that came while the parts were on their way', async (t) => {
    const bench = await makeBench(t);
    bench.server.proxy.fault = ({ target }) => {
      if (target.includes('partNumber=4')) bench.server.put(KEY, ltxLike(200));
      return undefined;
    };
    const source = bytesSource(ltxLike(LARGE));
    const write = bench.client.write(fileKey(0, 1), source, { ifAbsent: true });
    await assert.rejects(write, { code: 'ERR_STORAGE_EXISTS' });
    assert.equal(bench.server.objects.get(KEY)?.bytes.length, 200);
    assert.equal(bench.server.uploads.size, 0);
  });

  it('end what killed programs have left, once, and nothing else (BKD-07)', async (t) => {
    const bench = await makeBench(t);
    const { uploads } = bench.server;
    const dayAgo = Date.now() - 25 * 3_600_000;
    const open = (id: string, key: string, initiatedAt: number): void => {
      uploads.set(id, { key, initiatedAt, headers: {}, parts: new Map() });
    };
    open('old', KEY, dayAgo);
    open('young', KEY, Date.now() - 1000);
    open('foreign', 'p/photo.jpg', dayAgo);
    open('neighbour', KEY.replace('p/', 'p2/'), dayAgo);
    for (const txid of [1, 2]) {
      await bench.client.write(fileKey(0, txid), bytesSource(ltxLike(LARGE)));
    }
    assert.deepEqual([...uploads.keys()], ['young', 'foreign', 'neighbour']);
    assert.equal(bench.server.proxy.where('GET', /uploads/).length, 1);
  });

  it('read no further than the parts under way while the store is slow (BKD-08)', async (t) => {
    const bench = await makeBench(t);
    const controller = new AbortController();
    bench.server.proxy.fault = ({ method }) => (method === 'PUT' ? { kind: 'silence' } : undefined);
    let read = 0;
    const bytes = ltxLike(20 * PART);
    const source: WriteSource = {
      size: bytes.length,
      async *stream() {
        for (let at = 0; at < bytes.length; at += 4096) {
          read = at + 4096;
          yield bytes.subarray(at, at + 4096);
          await yieldToLoop();
        }
      },
    };
    const write = bench.client.write(fileKey(0, 1), source, { signal: controller.signal });
    while (bench.server.proxy.where('PUT').length < 3) await yieldToLoop();
    for (let turn = 0; turn < 200; turn++) await yieldToLoop();
    assert.ok(read <= 4 * PART, `${read} bytes read`);
    controller.abort();
    await assert.rejects(write, { code: 'ERR_ABORTED' });
  });
});

describe('requests to OSS', () => {
  it('are repeated after 429, 503 and a broken connection, each signed anew (BKD-23)', async (t) => {
    const bench = await makeBench(t);
    await bench.client.write(fileKey(0, 1), bytesSource(ltxLike(300)));
    const plans = [
      answers(5, 429),
      answers(3, 503, { headers: { 'retry-after': '0' } }),
      first(2, { kind: 'refuse' }),
    ];
    for (const fault of plans) {
      bench.server.proxy.fault = fault;
      assert.equal((await listAll(bench.client, 0)).length, 1);
    }
    bench.server.proxy.fault = first(1, { kind: 'lose-answer' });
    await bench.client.write(fileKey(0, 2), bytesSource(ltxLike(300)));
    assert.equal(bench.server.objects.size, 2);
  });

  it('end within a bound, naming the status and the object (BKD-23)', async (t) => {
    const bench = await makeBench(t);
    bench.server.proxy.fault = answers(1000, 503);
    const error = await failureOf(readAll(bench.client, fileKey(0, 1)));
    assert.equal(error.code, 'ERR_STORAGE_TEMPORARY');
    assert.equal(error.retryable, true);
    assert.match(error.message, new RegExp(`^oss: get object ${KEY}: .*10 attempts.*HTTP 503`));
    bench.server.proxy.fault = undefined;
    assert.deepEqual(await listAll(bench.client, 0), [], 'a long outage costs later calls nothing');
  });

  it('that the store refuses say why, and nothing secret', async (t) => {
    const bench = await makeBench(t);
    const secretAccessKey = makeSecret('wrong OSS key secret');
    const cases: readonly (readonly [Partial<OssLocation>, RegExp, string])[] = [
      [{ secretAccessKey }, /SignatureDoesNotMatch/, 'ERR_STORAGE_DENIED'],
      [{ accessKeyId: 'nobody' }, /InvalidAccessKeyId/, 'ERR_STORAGE_DENIED'],
      [{ bucket: 'nosuchbucket' }, /NoSuchBucket/, 'ERR_STORAGE'],
    ];
    for (const [location, message, code] of cases) {
      const client = bench.open(location);
      for (const work of [
        () => listAll(client, 0),
        () => readAll(client, fileKey(0, 1)),
        () => client.write(fileKey(0, 1), bytesSource(ltxLike(200))),
        () => client.delete([fileKey(0, 1)]),
      ]) {
        const error = await failureOf(work());
        assert.equal(error.code, code);
        assert.match(error.message, message);
        assert.ok(error.hint !== undefined);
      }
    }
  });

  it('carry the token of temporary keys', async (t) => {
    const token = makeSecret('OSS session token', 'sts/token+=');
    const bench = await makeBench(t, { token });
    await assert.rejects(listAll(bench.client, 0), /InvalidSecurityToken/);
    const { accessKeyId, accessKeySecret } = bench.server;
    const environment: Record<string, string> = {
      OSS_ACCESS_KEY_ID: accessKeyId,
      OSS_ACCESS_KEY_SECRET: accessKeySecret,
      OSS_SESSION_TOKEN: makeSecret('old OSS session token'),
    };
    const client = bench.open({ accessKeyId: '', secretAccessKey: '' }, { environment });
    await assert.rejects(listAll(client, 0), /InvalidSecurityToken/);
    environment['OSS_SESSION_TOKEN'] = token;
    await client.write(fileKey(0, 1), bytesSource(ltxLike(LARGE)));
    assert.equal((await listAll(client, 0)).length, 1);
  });

  it('without keys fail before anything is sent', async (t) => {
    const bench = await makeBench(t);
    const client = bench.open({ accessKeyId: '', secretAccessKey: '' });
    const works = [
      () => client.init(),
      () => listAll(client, 0),
      () => client.delete([fileKey(0, 1)]),
    ];
    for (const work of works) {
      await assert.rejects(work(), { code: 'ERR_STORAGE_DENIED', message: /no credentials/ });
    }
    assert.equal(bench.server.proxy.exchanges.length, 0);
  });

  it('name the bucket in the host, also through a proxy, and are signed for it', async (t) => {
    const bench = await makeBench(t);
    const { port } = bench.server.proxy;
    const client = bench.open(
      { endpoint: 'http://oss-cn-hangzhou.aliyuncs.com' },
      { environment: { HTTP_PROXY: `http://127.0.0.1:${port}` } },
    );
    await client.write(fileKey(0, 1), bytesSource(ltxLike(LARGE)));
    assert.equal((await listAll(client, 0)).length, 1);
    for (const { headers } of bench.server.proxy.exchanges) {
      assert.equal(headers['host'], 'testbucket.oss-cn-hangzhou.aliyuncs.com');
    }
  });

  it('keep keys that begin with a dot or a slash, and characters of every kind', async (t) => {
    const bench = await makeBench(t);
    for (const path of ['', '.', '/p/', 'a b+%41&<é>']) {
      const client = bench.open({ path });
      await client.write(fileKey(0, 1), bytesSource(ltxLike(200)));
      await client.write(fileKey(9, 1), bytesSource(ltxLike(LARGE)));
      assert.ok(bench.server.objects.has(`${path}/0000/${KEY.slice(7)}`), path);
      assert.equal((await listAll(client, 0)).length, 1);
      assert.equal((await readAll(client, fileKey(9, 1))).length, LARGE);
      await client.delete([fileKey(0, 1)]);
      assert.equal(bench.server.objects.size, 1);
      await client.deleteAll();
      assert.equal(bench.server.objects.size, 0);
    }
  });
});

describe('reading from OSS', () => {
  it('asks for no range of a whole file, and for the standard behaviour otherwise', async (t) => {
    const bench = await makeBench(t);
    const bytes = ltxLike(1000);
    await bench.client.write(fileKey(0, 1), bytesSource(bytes));
    await readAll(bench.client, fileKey(0, 1));
    const part = await readRange(bench.client, fileKey(0, 1), { offset: 10, size: 5 });
    assert.deepEqual(part, bytes.subarray(10, 15));
    const headers = bench.server.proxy.where('GET').map((exchange) => exchange.headers);
    assert.deepEqual(
      headers.map((each) => [each['range'], each['x-oss-range-behavior']]),
      [
        [undefined, undefined],
        ['bytes=10-14', 'standard'],
      ],
    );
  });

  it('takes a body that ends early for an error (BKD-06)', async (t) => {
    const bench = await makeBench(t);
    await bench.client.write(fileKey(0, 1), bytesSource(ltxLike(100_000)));
    for (const how of ['end', 'reset'] as const) {
      bench.server.proxy.fault = first(1, { kind: 'cut', bytes: 1000, how });
      const error = await failureOf(readAll(bench.client, fileKey(0, 1)));
      assert.equal(error.code, 'ERR_STORAGE_TEMPORARY');
      assert.match(error.message, new RegExp(`^oss: get object ${KEY}: `));
    }
  });
});

describe('times in OSS', () => {
  function recorder(): { readonly lines: string[]; readonly logger: Logger } {
    const lines: string[] = [];
    const logger = checkedLogger((level, message) => {
      lines.push(`${level} ${message}`);
    });
    return { lines, logger };
  }

  it('cost a request per file only where they have to be exact', async (t) => {
    const bench = await makeBench(t, { pageSize: 2 });
    for (const txid of [1, 2, 3]) {
      await bench.client.write(fileKey(0, txid), bytesSource(ltxLike(100, 1_600_000_000_000)));
    }
    const cheap: number[] = [];
    for await (const { createdAt } of bench.client.list(0)) cheap.push(createdAt);
    assert.ok(cheap.every((time) => time > 1_600_000_000_000));
    assert.equal(bench.server.proxy.where('HEAD').length, 0);
    const exact = (await listAll(bench.client, 0)).map(({ createdAt }) => createdAt);
    assert.deepEqual(exact, Array(3).fill(1_600_000_000_000));
    assert.equal(bench.server.proxy.where('HEAD').length, 3);
  });

  it('come from the headers of files without metadata, which is said once (BKD-09)', async (t) => {
    const bench = await makeBench(t);
    const { lines, logger } = recorder();
    const client = bench.open({}, { logger });
    bench.server.put(KEY, ltxLike(500, 1_650_000_000_123));
    bench.server.put(KEY.replaceAll('1.ltx', '2.ltx'), ltxLike(500, 1_650_000_000_456), {
      'x-oss-meta-litestream-timestamp': 'yesterday',
    });
    const times = (await listAll(client, 0)).map(({ createdAt }) => createdAt);
    assert.deepEqual(times, [1_650_000_000_123, 1_650_000_000_456]);
    assert.deepEqual(lines, ['warn object has no timestamp, reading it from the ltx header']);
  });

  it('come from the header as well if the store does not answer for the metadata', async (t) => {
    const bench = await makeBench(t);
    await bench.client.write(fileKey(0, 1), bytesSource(ltxLike(100, 1_650_000_000_123)));
    bench.server.proxy.fault = answers(1, 403, { match: ({ method }) => method === 'HEAD' });
    const [file] = await listAll(bench.client, 0);
    assert.equal(file?.createdAt, 1_650_000_000_123);
  });
});

describe('deleting from OSS', () => {
  it('takes a request per thousand files', async (t) => {
    const bench = await makeBench(t);
    const keys = Array.from({ length: 1001 }, (_, index) => fileKey(0, index + 1));
    await bench.client.delete(keys);
    const bodies = bench.server.proxy.where('POST', /\?delete/).map(({ body }) => String(body));
    assert.deepEqual(
      bodies.map((body) => body.split('<Key>').length - 1),
      [1000, 1],
    );
  });

  it('fails if the store does not confirm a file, and names it', async (t) => {
    const bench = await makeBench(t);
    for (const txid of [1, 2]) {
      await bench.client.write(fileKey(0, txid), bytesSource(ltxLike(100)));
    }
    bench.server.undeletable.add(KEY);
    const error = await failureOf(bench.client.delete([fileKey(0, 1), fileKey(0, 2)]));
    assert.equal(error.message, `oss: failed to delete files:\n${KEY}`);
    assert.equal(error.retryable, true);
    assert.deepEqual([...bench.server.objects.keys()], [KEY]);
  });
});
