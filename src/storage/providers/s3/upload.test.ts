import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { s3Bench } from '../../../../test/support/fake-s3/index.ts';
import { nodeFileSystem } from '../../../lib/file-system.ts';
import { fileKey, listAll, ltxLike } from '../../../testing/index.ts';
import type { WriteSource } from '../../contract.ts';
import { bytesSource, fileSource } from '../../sources.ts';
import { readAll } from '../../streams.ts';
import { partSizeFor } from './upload.ts';

const MIB = 1024 * 1024;
const PART = 5 * MIB;
const KEY = fileKey(0, 1);
const NAME = 'p/0000/0000000000000001-0000000000000001.ltx';
const ENDPOINT = 'http://store.test:9000';

/** {@link ltxLike} for many bytes: parts differ, and it costs little. */
function large(size: number): Uint8Array {
  const bytes = Buffer.alloc(size);
  for (let at = 0; at + 4 <= size; at += 65_536) bytes.writeUInt32BE(at, at);
  bytes.set(ltxLike(100));
  return bytes;
}

async function fileOf(t: TestContext, bytes: Uint8Array): Promise<WriteSource> {
  const folder = await mkdtemp(join(tmpdir(), 'litestream-s3-'));
  t.after(() => rm(folder, { recursive: true }));
  const path = join(folder, 'source');
  await writeFile(path, bytes);
  return fileSource(nodeFileSystem, path, bytes.length);
}

describe('uploads to S3', () => {
  it('BKD-08 BKD-03 store a small file by one request of known length, without trailers', async (t) => {
    const { fake, open } = await s3Bench(t);
    const bytes = ltxLike(5000, Date.UTC(2026, 0, 2, 3, 4, 5, 670));
    await open({ endpoint: ENDPOINT, storageClass: 'STANDARD_IA' }).write(KEY, bytesSource(bytes));
    assert.deepEqual([...fake.objects.keys()], [NAME]);
    assert.equal(fake.requests.length, 1);
    const headers = fake.where('PUT')[0]?.headers ?? {};
    assert.partialDeepStrictEqual(headers, {
      host: 'store.test:9000',
      'content-length': '5000',
      'content-type': 'application/octet-stream',
      'x-amz-content-sha256': createHash('sha256').update(bytes).digest('hex'),
      'x-amz-meta-litestream-timestamp': '2026-01-02T03:04:05.67Z',
      'x-amz-storage-class': 'STANDARD_IA',
    });
    assert.match(headers['user-agent'] ?? '', /^litestream/);
    for (const name of Object.keys(headers)) {
      assert.doesNotMatch(
        name,
        /^(?:x-amz-trailer|x-amz-checksum|x-amz-sdk|transfer-|content-encoding|expect)/,
      );
    }
    const signed = /SignedHeaders=([^,]*)/.exec(headers['authorization'] ?? '')?.[1] ?? '';
    for (const name of signed.split(';')) assert.match(name, /^(?:host$|x-amz-)/);
  });

  it('BKD-03 carry a checksum to AWS itself', async (t) => {
    const { fake, open } = await s3Bench(t);
    const bytes = ltxLike(5000);
    await open({ region: 'eu-west-1' }).write(KEY, bytesSource(bytes));
    const [put] = fake.where('PUT');
    assert.equal(put?.headers['host'], 'testbucket.s3.eu-west-1.amazonaws.com');
    assert.equal(put.region, 'eu-west-1');
    assert.equal(
      put.headers['x-amz-checksum-sha256'],
      createHash('sha256').update(bytes).digest('base64'),
    );
  });

  it('go up in parts above the size of a part, from disk and from memory', async (t) => {
    for (const size of [PART, PART + 1, 2 * PART]) {
      const { fake, open } = await s3Bench(t);
      const client = open({ endpoint: ENDPOINT });
      const bytes = large(size);
      for (const source of [bytesSource(bytes), await fileOf(t, bytes)]) {
        await client.write(KEY, source);
        assert.ok(fake.objects.get(NAME)?.bytes.equals(bytes), `${size} bytes`);
        const timestamp = fake.objects.get(NAME)?.headers['x-amz-meta-litestream-timestamp'];
        assert.equal(timestamp, '2025-01-01T00:00:00.123Z');
        assert.equal(fake.uploads.size, 0);
      }
      const parts = fake.where('PUT', /partNumber=/);
      assert.equal(parts.length, size <= PART ? 0 : 2 * Math.ceil(size / PART));
    }
  });

  it('BKD-02 keep to two equal parts at a time at R2', async (t) => {
    const { fake, open } = await s3Bench(t, { parallelPartsMax: 2, equalParts: true });
    const client = open({ endpoint: 'https://acc.r2.cloudflarestorage.com', region: 'auto' });
    const bytes = large(26 * MIB);
    await client.write(KEY, await fileOf(t, bytes));
    assert.ok(fake.objects.get(NAME)?.bytes.equals(bytes));
    assert.equal(fake.parallelParts, 2);
    assert.ok(fake.requests.every(({ region }) => region === 'auto'));
    assert.ok(fake.requests.every(({ status }) => status < 400));
  });

  it('use five parts at a time elsewhere, or as many as configured', async (t) => {
    for (const [concurrency, most] of [
      [undefined, 5],
      [1, 1],
      [3, 3],
    ] as const) {
      const { fake, open } = await s3Bench(t);
      await open({ endpoint: ENDPOINT, concurrency }).write(KEY, await fileOf(t, large(30 * MIB)));
      assert.ok(fake.parallelParts <= most, `${fake.parallelParts} parts`);
      assert.equal(fake.parallelParts > 1, most > 1);
    }
  });

  it('BKD-07 have at most 9000 equal parts, whatever the size', () => {
    const TIB = 1024 ** 4;
    for (const size of [1, 100, PART, PART + 1, 48 * 1024 * MIB, 100 * 1024 * MIB, TIB, 5 * TIB]) {
      const partSize = partSizeFor(size, PART);
      assert.ok(partSize >= PART && Number.isInteger(partSize));
      assert.ok(Math.ceil(size / partSize) <= 9000, `${size} bytes`);
    }
    assert.equal(partSizeFor(100 * MIB, PART), PART);
    assert.equal(partSizeFor(100 * MIB, 64 * MIB), 64 * MIB);
    assert.ok(partSizeFor(5 * TIB, PART) < 5 * 1024 * MIB, 'no part above 5 GiB');
  });

  it('BKD-07 repeat a part that failed, and no other', async (t) => {
    const { fake, open } = await s3Bench(t);
    let failures = 3;
    fake.rules.fault = ({ query }) =>
      query['partNumber'] === '2' && failures-- > 0
        ? { status: 500, code: 'InternalError' }
        : undefined;
    const bytes = large(14 * MIB);
    await open({ endpoint: ENDPOINT }).write(KEY, await fileOf(t, bytes));
    assert.ok(fake.objects.get(NAME)?.bytes.equals(bytes));
    const parts = fake.where('PUT', /partNumber=/);
    const numbers = parts.map(({ query }) => Number(query['partNumber'])).toSorted((a, b) => a - b);
    assert.deepEqual(numbers, [1, 2, 2, 2, 2, 3]);
  });

  it('leave no parts behind when they fail', async (t) => {
    const { fake, open } = await s3Bench(t);
    const client = open({ endpoint: ENDPOINT });
    fake.rules.fault = ({ query }) =>
      query['partNumber'] === '2' ? { status: 403, code: 'AccessDenied' } : undefined;
    await assert.rejects(client.write(KEY, bytesSource(large(14 * MIB))), {
      code: 'ERR_STORAGE_DENIED',
      message: /upload to p\/0000\/.*AccessDenied/,
    });
    assert.equal(fake.uploads.size, 0);
    const stop = new AbortController();
    fake.rules.fault = ({ query }) => {
      if (query['partNumber'] === '1') stop.abort();
      return undefined;
    };
    const source = await fileOf(t, large(14 * MIB));
    await assert.rejects(client.write(KEY, source, { signal: stop.signal }), {
      code: 'ERR_ABORTED',
    });
    assert.equal(fake.uploads.size, 0);
    assert.equal(fake.objects.size, 0);
  });

  it('BKD-07 remove parts that nobody has completed for a day, below their own path', async (t) => {
    const { fake, open } = await s3Bench(t);
    const hour = 3_600_000;
    const leave = (id: string, key: string, ageMs: number): void => {
      fake.uploads.set(id, { key, headers: {}, parts: new Map(), initiatedAt: Date.now() - ageMs });
    };
    leave('old', 'p/0009/x', 25 * hour);
    leave('young', 'p/0009/y', 23 * hour);
    leave('foreign', 'p2/0009/x', 25 * hour);
    const client = open({ endpoint: ENDPOINT });
    await client.write(KEY, bytesSource(ltxLike(100)));
    assert.equal(fake.uploads.size, 3, 'not before parts are used');
    await client.write(KEY, bytesSource(large(6 * MIB)));
    await client.close();
    assert.deepEqual([...fake.uploads.keys()], ['young', 'foreign']);
  });

  it('see through a failure that comes with status 200', async (t) => {
    const { fake, open } = await s3Bench(t);
    let failures = 2;
    fake.rules.fault = ({ method, query }) =>
      method === 'POST' && query['uploadId'] !== undefined && failures-- > 0
        ? { status: 200, code: 'InternalError', message: 'We encountered an internal error.' }
        : undefined;
    const client = open({ endpoint: ENDPOINT });
    await client.write(KEY, bytesSource(large(6 * MIB)));
    assert.equal(fake.objects.size, 1);
    fake.rules.fault = ({ method, query }) =>
      method === 'POST' && query['uploadId'] !== undefined
        ? { status: 200, code: 'AccessDenied', message: 'no' }
        : undefined;
    await assert.rejects(client.write(KEY, bytesSource(large(6 * MIB))), /AccessDenied: no/);
  });

  it('are complete although the answer that says so was lost', async (t) => {
    const { fake, open } = await s3Bench(t);
    let uploaded: string | undefined;
    fake.rules.fault = ({ method, query }) => {
      if (method !== 'POST' || query['uploadId'] === undefined) return undefined;
      // The store has joined the parts, and the upload is no more.
      if (uploaded === undefined) {
        uploaded = query['uploadId'];
        const upload = fake.uploads.get(uploaded);
        const bytes = Buffer.concat([...(upload?.parts.values() ?? [])]);
        fake.objects.set(NAME, { bytes, headers: {}, etag: '"0123456789abcdef-2"', modifiedAt: 0 });
        fake.uploads.delete(uploaded);
        return 'reset';
      }
      return undefined;
    };
    const info = await open({ endpoint: ENDPOINT }).write(KEY, bytesSource(large(6 * MIB)));
    assert.equal(info.size, 6 * MIB);
    fake.objects.clear();
    uploaded = 'none';
    fake.rules.fault = ({ method, query }) =>
      method === 'POST' && query['uploadId'] !== undefined
        ? { status: 404, code: 'NoSuchUpload' }
        : undefined;
    await assert.rejects(
      open({ endpoint: ENDPOINT }).write(KEY, bytesSource(large(6 * MIB))),
      /NoSuchUpload/,
    );
  });

  it('do not begin with parts that services refuse', async (t) => {
    const { fake, open } = await s3Bench(t);
    for (const size of [100, 6 * MIB]) {
      const write = open({ endpoint: ENDPOINT, partSizeBytes: 5_000_000 }).write(
        KEY,
        bytesSource(large(size)),
      );
      await assert.rejects(write, {
        code: 'ERR_CONFIG',
        message: `s3: upload to ${NAME}: part size must be at least 5242880 bytes`,
      });
    }
    assert.equal(fake.requests.length, 0);
  });

  it('are not signed as a whole where that is not wanted', async (t) => {
    const { fake, open } = await s3Bench(t);
    const client = open({ endpoint: ENDPOINT, signPayload: false });
    await client.write(KEY, bytesSource(large(6 * MIB)));
    await listAll(client, 0);
    const hashes = new Set(fake.requests.map(({ headers }) => headers['x-amz-content-sha256']));
    assert.deepEqual([...hashes], ['UNSIGNED-PAYLOAD']);
  });
});

describe('server-side encryption', () => {
  const customerKey = Buffer.alloc(32, 7).toString('base64');

  it('BKD-14 sends the key of the customer with every request that needs it', async (t) => {
    const { fake, open } = await s3Bench(t, { customerKey });
    const client = open({ endpoint: 'https://store.test', sseCustomerKey: customerKey });
    for (const size of [100, 6 * MIB]) {
      const bytes = large(size);
      await client.write(KEY, await fileOf(t, bytes));
      assert.ok(Buffer.from(await readAll(client, KEY)).equals(bytes));
      assert.equal((await listAll(client, 0)).length, 1);
    }
    await client.delete([KEY]);
    assert.equal(fake.objects.size, 0);
    await assert.rejects(readAll(open({ endpoint: 'https://store.test' }), KEY));
  });

  it('reads the key from a file', async (t) => {
    const { open } = await s3Bench(t, { customerKey });
    const { path = '' } = await fileOf(t, new TextEncoder().encode(`${customerKey}\n`));
    await open({ endpoint: 'https://store.test', sseCustomerKeyPath: path }).write(
      KEY,
      bytesSource(ltxLike(100)),
    );
    await assert.rejects(open({ sseCustomerKeyPath: '/no/such' }).init(), {
      code: 'ERR_CONFIG',
      message: /^cannot read sse-customer-key-path "\/no\/such": /,
    });
    await assert.rejects(open({ sseCustomerKeyPath: '~/key' }).init(), {
      message: /^cannot expand home directory for sse-customer-key-path: /,
    });
  });

  it('names the key of the service with uploads only', async (t) => {
    const { fake, open } = await s3Bench(t);
    const client = open({ endpoint: ENDPOINT, sseKmsKeyId: 'arn:aws:kms:k' });
    for (const size of [100, 6 * MIB]) {
      await client.write(KEY, bytesSource(large(size)));
      assert.partialDeepStrictEqual(fake.objects.get(NAME)?.headers, {
        'x-amz-server-side-encryption': 'aws:kms',
        'x-amz-server-side-encryption-aws-kms-key-id': 'arn:aws:kms:k',
      });
    }
    fake.requests.length = 0;
    await readAll(client, KEY);
    await listAll(client, 0);
    for (const { headers } of fake.requests) {
      assert.doesNotMatch(Object.keys(headers).join(), /server-side/);
    }
  });

  it('BKD-14 checks the settings before anything is asked', async (t) => {
    const { fake, open } = await s3Bench(t);
    const short = Buffer.alloc(16).toString('base64');
    const cases: readonly (readonly [Parameters<typeof open>[0], string | RegExp])[] = [
      [
        { sseCustomerKey: customerKey, sseKmsKeyId: 'k' },
        's3: cannot use both sse-customer-key and sse-kms-key-id; they are mutually exclusive',
      ],
      [
        { sseCustomerKey: customerKey, sseCustomerAlgorithm: 'AES' },
        's3: sse-customer-algorithm must be AES256, got "AES"',
      ],
      [{ sseCustomerKey: '!' }, /^s3: sse-customer-key must be valid base64: /],
      [
        { sseCustomerKey: short },
        's3: sse-customer-key must be 256-bit (32 bytes) when decoded, got 16 bytes',
      ],
      [
        { sseCustomerKey: customerKey, endpoint: 'http://s3.example.com' },
        's3: sse-customer-key requires HTTPS endpoint (HTTP only allowed for localhost/private networks)',
      ],
      [{ bucket: '' }, 's3: bucket name is required'],
    ];
    for (const [location, message] of cases) {
      await assert.rejects(open({ endpoint: 'https://s.test', ...location }).init(), {
        code: 'ERR_CONFIG',
        message,
      });
    }
    for (const host of [
      'localhost:9000',
      '127.0.0.1',
      '10.1.2.3',
      '172.16.0.1',
      '192.168.1.1',
      '[::1]',
    ]) {
      await open({ endpoint: `http://${host}`, sseCustomerKey: customerKey }).init();
    }
    assert.equal(fake.requests.length, 0);
  });
});

describe('uploads that must not replace anything', () => {
  const exists = { code: 'ERR_STORAGE_EXISTS' };
  const ifAbsent = { ifAbsent: true } as const;

  it('are decided by the store, after it was tried once', async (t) => {
    const { fake, open } = await s3Bench(t);
    const client = open({ endpoint: ENDPOINT });
    await client.write(KEY, bytesSource(ltxLike(100)), ifAbsent);
    assert.deepEqual(
      fake.requests.map(({ method, status }) => `${method} ${status}`),
      ['HEAD 404', 'PUT 200', 'PUT 412'],
    );
    fake.requests.length = 0;
    await client.write(fileKey(0, 2), bytesSource(ltxLike(100)), ifAbsent);
    await assert.rejects(client.write(KEY, bytesSource(ltxLike(200)), ifAbsent), exists);
    assert.deepEqual(
      fake.requests.map(({ method, status }) => `${method} ${status}`),
      ['PUT 200', 'PUT 412'],
    );
    assert.equal(fake.objects.get(NAME)?.bytes.length, 100);
  });

  it('ask for no proof of services that are known', async (t) => {
    for (const endpoint of ['', 'https://a.r2.cloudflarestorage.com', 'https://t3.storage.dev']) {
      const { fake, open } = await s3Bench(t);
      const client = open({ endpoint, region: 'auto' });
      await client.write(KEY, bytesSource(ltxLike(100)), ifAbsent);
      assert.equal(fake.requests.length, 1, endpoint);
      await assert.rejects(client.write(KEY, bytesSource(ltxLike(100)), ifAbsent), exists);
    }
  });

  for (const conditions of ['ignored', 'refused'] as const) {
    it(`look before where conditions are ${conditions}`, async (t) => {
      const { fake, open } = await s3Bench(t, { conditions });
      const client = open({ endpoint: ENDPOINT });
      await client.write(KEY, bytesSource(ltxLike(100)), ifAbsent);
      for (const size of [200, 6 * MIB]) {
        await assert.rejects(client.write(KEY, bytesSource(large(size)), ifAbsent), exists);
      }
      await client.write(fileKey(0, 2), bytesSource(large(6 * MIB)), ifAbsent);
      assert.equal(fake.objects.get(NAME)?.bytes.length, 100);
      assert.equal(fake.objects.size, 2);
    });
  }

  it('in parts are decided when they are complete', async (t) => {
    const { fake, open } = await s3Bench(t);
    const client = open({ endpoint: ENDPOINT });
    fake.rules.fault = ({ query }) => {
      // Somebody is faster.
      if (query['partNumber'] === '1') fake.put(NAME, ltxLike(100));
      return undefined;
    };
    await assert.rejects(client.write(KEY, bytesSource(large(6 * MIB)), ifAbsent), exists);
    assert.equal(fake.objects.get(NAME)?.bytes.length, 100);
    assert.equal(fake.uploads.size, 0);
  });
});
