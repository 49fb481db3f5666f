import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { inspect } from 'node:util';
import { s3Bench, s3Location } from '../../../../test/support/fake-s3/index.ts';
import { systemClock } from '../../../lib/clock.ts';
import { nodeFileSystem } from '../../../lib/file-system.ts';
import { fileKey, listAll, ltxLike } from '../../../testing/index.ts';
import { bytesSource } from '../../sources.ts';
import { collect, readAll, readRange } from '../../streams.ts';
import { createS3Client } from './index.ts';
import { makeSecret, makeSecretKey } from '../../../../test/support/secrets.ts';

const KEY = fileKey(0, 1);
const NAME = 'p/0000/0000000000000001-0000000000000001.ltx';
const ENDPOINT = 'http://store.test:9000';
const HOUR_AGO = Date.now() - 3_600_000;

function name(txid: number, level = '0000'): string {
  const text = txid.toString(16).padStart(16, '0');
  return `p/${level}/${text}-${text}.ltx`;
}

describe('listing a bucket', () => {
  it('BKD-10 follows every page, sorts, and skips what is none of ours', async (t) => {
    for (const pageSize of [1, 2, 3]) {
      const { fake, open } = await s3Bench(t, { pageSize, reverse: true });
      for (let txid = 1; txid <= 7; txid++) fake.put(name(txid), ltxLike(100 + txid));
      for (const odd of [
        'p/0000/readme.txt',
        'p/0000/',
        'p/000/0000000000000009-0000000000000009.ltx',
        `${name(9)}.tmp`,
        name(10).toUpperCase(),
        'p/0000/sub/0000000000000009-0000000000000009.ltx',
        'p2/0000/0000000000000009-0000000000000009.ltx',
      ]) {
        fake.put(odd, ltxLike(100));
      }
      const files = await listAll(open({ endpoint: ENDPOINT }), 0);
      assert.deepEqual(
        files.map(({ minTxid, size }) => [minTxid, size]),
        [1, 2, 3, 4, 5, 6, 7].map((txid) => [BigInt(txid), 100 + txid]),
      );
    }
  });

  it('CMP-05 takes seek as a lower bound on every page, not as a prefix', async (t) => {
    const { fake, open } = await s3Bench(t, { pageSize: 2 });
    for (let txid = 1; txid <= 50; txid++) fake.put(name(txid), ltxLike(100));
    const client = open({ endpoint: ENDPOINT });
    for (const seek of [0, 1, 2, 16, 17, 49, 50, 51]) {
      const files = await listAll(client, 0, seek);
      const first = Math.max(1, seek);
      const expected = Array.from({ length: 51 - first }, (_, at) => BigInt(first + at));
      assert.deepEqual(
        files.map(({ minTxid }) => minTxid),
        expected,
        `seek ${seek}`,
      );
    }
  });

  it('never takes a part for the whole', async (t) => {
    const { fake, open } = await s3Bench(t);
    const client = open({ endpoint: ENDPOINT });
    const pages = [
      '<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>',
      '<html><body>Please log in</body></html>',
      '<ListBucketResult><IsTruncated>false</IsTruncated>',
      '',
      '<Other/>',
      '<ListBucketResult><Contents><Key>x</Key><Size>no</Size></Contents></ListBucketResult>',
    ];
    for (const body of pages) {
      fake.rules.fault = () => ({ status: 200, body });
      await assert.rejects(listAll(client, 0), { code: 'ERR_STORAGE_TEMPORARY' }, body);
    }
    fake.rules.pageSize = 1;
    fake.put(name(1), ltxLike(100));
    fake.rules.fault = () => ({
      status: 200,
      body: '<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken></ListBucketResult>',
    });
    await assert.rejects(listAll(client, 0), /the same one again/);
  });

  it('keeps odd paths byte for byte', async (t) => {
    const { fake, open } = await s3Bench(t);
    const paths = ['.', '', '/p/', 'a//b', 'a/../b', 'a b+c%20', 'é&<>"\''];
    for (const path of paths) {
      const client = open({ endpoint: ENDPOINT, path });
      await client.write(KEY, bytesSource(ltxLike(100)));
      const key = `${path}/0000/0000000000000001-0000000000000001.ltx`;
      assert.deepEqual([...fake.objects.keys()], [key]);
      assert.equal((await listAll(client, 0)).length, 1, path);
      assert.equal((await readAll(client, KEY)).length, 100);
      await client.delete([KEY]);
      assert.equal(fake.objects.size, 0, path);
    }
  });

  it('finds what v0.3.x has stored', async (t) => {
    const { fake, open } = await s3Bench(t, { pageSize: 2 });
    const inside = 'generations/0123456789abcdef/snapshots/00000000.snapshot.lz4';
    for (const path of ['p', '.', '', 'a/b/']) {
      fake.objects.clear();
      const prefix = path === 'p' ? 'p/' : path === 'a/b/' ? 'a/b/' : '';
      fake.put(prefix + inside, Buffer.from('snapshot'));
      fake.put(`${prefix}generations2/x`, Buffer.from('x'));
      const client = open({ endpoint: ENDPOINT, path });
      const found = [];
      for await (const object of client.listObjects?.('generations') ?? []) found.push(object);
      assert.deepEqual(
        found.map(({ key, size }) => [key, size]),
        [[inside, 8]],
        path,
      );
      const [object] = found;
      assert.ok(object);
      const stream = client.readObject?.(object);
      assert.ok(stream);
      const bytes = await collect(stream);
      assert.equal(Buffer.from(bytes).toString(), 'snapshot');
    }
  });
});

describe('times of files', () => {
  it('BKD-09 come from the metadata, else from the header, and not from the upload', async (t) => {
    const { fake, open, lines } = await s3Bench(t);
    const client = open({ endpoint: ENDPOINT });
    await client.write(KEY, bytesSource(ltxLike(100, HOUR_AGO)));
    fake.put(name(2), ltxLike(200, HOUR_AGO + 2));
    fake.put(name(3), ltxLike(200, HOUR_AGO + 3), { 'x-amz-meta-litestream-timestamp': 'soon' });
    const times = (await listAll(client, 0)).map(({ createdAt }) => createdAt);
    assert.deepEqual(times, [HOUR_AGO, HOUR_AGO + 2, HOUR_AGO + 3]);
    assert.equal(fake.where('HEAD').length, 3);
    assert.deepEqual(
      lines.filter(([line]) => line.startsWith('warn')),
      [],
    );
    fake.requests.length = 0;
    const cheap = [];
    for await (const file of client.list(0)) cheap.push(file.createdAt);
    assert.ok(cheap.every((at) => at > HOUR_AGO + 1_000_000));
    assert.equal(fake.requests.length, 1);
  });

  it('are those of the upload where nothing else can be read, which is said once', async (t) => {
    const { fake, open, lines } = await s3Bench(t);
    const client = open({ endpoint: ENDPOINT });
    for (const txid of [1, 2, 3]) fake.put(name(txid), ltxLike(100, HOUR_AGO));
    fake.rules.fault = ({ key }) =>
      key === undefined ? undefined : { status: 403, code: 'AccessDenied' };
    for (const { createdAt } of await listAll(client, 0))
      assert.ok(createdAt > HOUR_AGO + 1_000_000);
    const warnings = lines.filter(([line]) => line.startsWith('warn cannot read the time'));
    assert.equal(warnings.length, 1);
  });

  it('are asked for fifty at a time at most, and not of files that have gone', async (t) => {
    const { fake, open } = await s3Bench(t);
    for (let txid = 1; txid <= 130; txid++) fake.put(name(txid), ltxLike(100, HOUR_AGO));
    fake.rules.fault = async ({ method, key }) => {
      if (method === 'HEAD' && key === name(7)) fake.objects.delete(key);
      // Long enough for others to come in.
      await sleep(10);
      return undefined;
    };
    const files = await listAll(open({ endpoint: ENDPOINT }), 0);
    assert.equal(files.length, 129);
    assert.ok(files.every(({ createdAt }) => createdAt === HOUR_AGO));
    assert.ok(fake.parallelRequests > 5 && fake.parallelRequests <= 50, `${fake.parallelRequests}`);
  });
});

describe('reading objects', () => {
  it('BKD-06 takes the right bytes from a store that ignores ranges', async (t) => {
    const { fake, open } = await s3Bench(t);
    const client = open({ endpoint: ENDPOINT });
    fake.put(NAME, Buffer.from('0123456789'));
    fake.rules.fault = ({ method }) =>
      method === 'GET' ? { status: 200, body: '0123456789' } : undefined;
    for (const [offset, size, text] of [
      [0, 0, '0123456789'],
      [3, 0, '3456789'],
      [3, 4, '3456'],
      [0, 1, '0'],
      [8, 9, '89'],
    ] as const) {
      const found = await readRange(client, KEY, { offset, size });
      assert.equal(Buffer.from(found).toString(), text);
    }
  });

  it('refuses bytes that begin behind the ones that were asked for', async (t) => {
    const { fake, open } = await s3Bench(t);
    fake.rules.fault = () => ({
      status: 206,
      body: '56',
      headers: { 'content-range': 'bytes 5-6/10' },
    });
    await assert.rejects(readRange(open({ endpoint: ENDPOINT }), KEY, { offset: 3, size: 2 }), {
      code: 'ERR_STORAGE_TEMPORARY',
      message: /the answer begins at byte 5, expected 3/,
    });
  });

  it('always asks for a range, and keeps the connection', async (t) => {
    const { fake, open } = await s3Bench(t);
    const client = open({ endpoint: ENDPOINT });
    await client.write(KEY, bytesSource(ltxLike(300_000)));
    for (let n = 0; n < 5; n++) await readRange(client, KEY, { offset: n, size: 100_000 });
    await readAll(client, KEY);
    const ranges = fake.where('GET').map(({ headers }) => headers['range']);
    assert.deepEqual(ranges.slice(0, 2), ['bytes=0-99999', 'bytes=1-100000']);
    assert.equal(ranges.at(-1), 'bytes=0-');
    assert.equal(fake.connections, 1);
  });

  it('tells a missing object from a missing bucket', async (t) => {
    const { open } = await s3Bench(t);
    await assert.rejects(readAll(open({ endpoint: ENDPOINT }), KEY), {
      code: 'ERR_STORAGE_NOT_FOUND',
      message: `s3: get object ${NAME}: NoSuchKey (status 404, request 1)`,
    });
    const elsewhere = open({ endpoint: ENDPOINT, bucket: 'other' });
    for (const call of [readAll(elsewhere, KEY), listAll(elsewhere, 0)]) {
      await assert.rejects(call, { code: 'ERR_STORAGE', message: /NoSuchBucket/ });
    }
  });
});

describe('deleting objects', () => {
  const keys = (count: number): ReturnType<typeof fileKey>[] =>
    Array.from({ length: count }, (_, index) => fileKey(0, index + 1));

  it('BKD-11 sends at most a thousand names, with the digest that OCI wants', async (t) => {
    const { fake, open, lines } = await s3Bench(t, { contentMd5: 'required' });
    for (let txid = 1; txid <= 1001; txid++) fake.put(name(txid), ltxLike(100));
    await open({ endpoint: ENDPOINT }).delete(keys(1001));
    assert.equal(fake.objects.size, 0);
    const batches = fake.where('POST', /\?delete=/);
    assert.equal(batches.length, 2);
    assert.doesNotMatch(batches[0]?.body.toString() ?? '', /Quiet/);
    const completed = lines.filter(([line]) => line === 'debug delete batch completed');
    assert.deepEqual(
      completed.map(([, attributes]) => [attributes?.['requested'], attributes?.['deleted']]),
      [
        [1000, 1000],
        [1, 1],
      ],
    );
  });

  it('BKD-11 leaves the digest out for Tigris, which gets its header with every request', async (t) => {
    const { fake, open } = await s3Bench(t, { contentMd5: 'refused' });
    const client = open({ endpoint: 'https://fly.storage.tigris.dev', region: 'auto' });
    await client.write(KEY, bytesSource(ltxLike(100)));
    await listAll(client, 0);
    await client.delete([KEY]);
    assert.ok(fake.requests.length >= 4);
    for (const { headers } of fake.requests) {
      assert.equal(headers['x-tigris-consistent'], 'true');
      assert.equal(headers['host'], 'testbucket.fly.storage.tigris.dev');
    }
    await assert.rejects(
      open({ endpoint: 'https://t3.storage.dev', requireContentMd5: true }).delete([KEY]),
      /Content-MD5/,
    );
    const other = await s3Bench(t);
    await listAll(other.open({ endpoint: ENDPOINT }), 0);
    assert.equal(other.fake.requests[0]?.headers['x-tigris-consistent'], undefined);
  });

  it('names what could not be deleted, with five warnings at most', async (t) => {
    const { fake, open, lines } = await s3Bench(t);
    for (let txid = 1; txid <= 10; txid++) fake.put(name(txid), ltxLike(100));
    for (let txid = 1; txid <= 7; txid++) fake.rules.undeletable.set(name(txid), 'AccessDenied');
    fake.rules.undeletable.set(name(8), 'NoSuchKey');
    await assert.rejects(open({ endpoint: ENDPOINT }).delete(keys(10)), (error: Error) => {
      const [first, ...rest] = error.message.split('\n');
      assert.equal(first, 'failed to delete files:');
      assert.equal(rest.length, 7);
      assert.equal(rest[0], `${name(1)}: no: AccessDenied`);
      return true;
    });
    assert.equal(fake.objects.size, 8);
    const warnings = lines.filter(([line]) => line === 'warn delete object failed');
    assert.equal(warnings.length, 5);
    assert.deepEqual(warnings[0]?.[1], {
      s3: { key: name(1), code: 'AccessDenied', message: 'no: AccessDenied' },
    });
    const suppressed = lines.find(([line]) => line === 'warn additional delete errors suppressed');
    assert.deepEqual(suppressed?.[1], { count: 2 });
  });

  it('notices a store that says it deleted and did not', async (t) => {
    const { fake, open, lines } = await s3Bench(t, { keepsDeleted: 'in batches' });
    const endpoint = 'https://acc.r2.cloudflarestorage.com';
    const client = open({ endpoint, region: 'auto' });
    for (let txid = 1; txid <= 40; txid++) fake.put(name(txid), ltxLike(100));
    await client.delete(keys(20));
    assert.equal(fake.objects.size, 20);
    assert.ok(lines.some(([line]) => /objects of a batch are still there/.test(line)));
    fake.requests.length = 0;
    await client.delete(keys(40).slice(20));
    assert.equal(fake.objects.size, 0);
    assert.deepEqual([...new Set(fake.requests.map(({ method }) => method))], ['DELETE']);
    fake.rules.keepsDeleted = 'always';
    fake.put(NAME, ltxLike(100));
    await assert.rejects(open({ endpoint, region: 'auto' }).delete([KEY]), {
      code: 'ERR_STORAGE',
      message: /reported success and the object is still there/,
    });
  });

  it('goes one by one where there are no batches', async (t) => {
    const { fake, open } = await s3Bench(t, { batches: false });
    const client = open({ endpoint: ENDPOINT });
    for (let txid = 1; txid <= 30; txid++) fake.put(name(txid), ltxLike(100));
    await client.delete(keys(31));
    assert.equal(fake.objects.size, 0);
    assert.equal(fake.where('POST').length, 1);
  });

  it('asks AWS nothing but what is needed', async (t) => {
    const { fake, open } = await s3Bench(t);
    fake.put(NAME, ltxLike(100));
    await open({ region: 'eu-west-1' }).delete([KEY]);
    assert.equal(fake.requests.length, 1);
    assert.equal(fake.requests[0]?.headers['host'], 'testbucket.s3.eu-west-1.amazonaws.com');
  });
});

describe('requests that fail', () => {
  it('BKD-23 are repeated: 429 and the like, as long as the store wants to be left alone', async (t) => {
    const cases = [
      { status: 429, code: 'TooManyRequestsException' },
      { status: 503, code: 'SlowDown' },
      { status: 500 },
      { status: 502, body: '<html>Bad gateway</html>' },
      { status: 504 },
      { status: 408, code: 'RequestCanceled' },
      { status: 400, code: 'RequestTimeout' },
      { status: 409, code: 'ConditionalRequestConflict' },
    ];
    for (const failure of cases) {
      const { fake, open } = await s3Bench(t);
      let failures = 5;
      fake.rules.fault = () => (failures-- > 0 ? failure : undefined);
      await open({ endpoint: ENDPOINT }).write(KEY, bytesSource(ltxLike(100)));
      assert.equal(fake.requests.length, 6, JSON.stringify(failure));
      const dates = fake.requests.map(({ headers }) => headers['x-amz-date']);
      assert.ok(dates.every((date) => date !== undefined));
    }
    const { fake, open, waits } = await s3Bench(t);
    let failures = 1;
    fake.rules.fault = () =>
      failures-- > 0
        ? { status: 503, code: 'SlowDown', headers: { 'retry-after': '7' } }
        : undefined;
    await listAll(open({ endpoint: ENDPOINT }), 0);
    assert.deepEqual(waits, [7000]);
  });

  it('BKD-23 are given up after ten attempts, and the error says what happened', async (t) => {
    const { fake, open, waits, lines } = await s3Bench(t);
    fake.rules.fault = () => ({ status: 503, code: 'SlowDown', message: 'slow down' });
    await assert.rejects(listAll(open({ endpoint: ENDPOINT }), 0), {
      code: 'ERR_STORAGE_TEMPORARY',
      message:
        /^s3: list objects page: gave up after 10 attempts in .* SlowDown: slow down \(status 503/,
    });
    assert.equal(fake.requests.length, 10);
    assert.equal(waits.length, 9);
    for (const [index, ms] of waits.entries()) {
      assert.equal(
        ms,
        Math.min(8000, 400 * 2 ** index) / 2,
        'half of the bound: the jitter is 0.5',
      );
    }
    assert.equal(lines.filter(([line]) => line === 'warn s3 requests fail, retrying').length, 1);
  });

  it('BKD-05 cost later requests nothing', async (t) => {
    const { fake, open } = await s3Bench(t);
    const client = open({ endpoint: ENDPOINT });
    let failures = 200;
    fake.rules.fault = () => (failures-- > 0 ? { status: 500 } : undefined);
    for (let round = 0; round < 20; round++) await assert.rejects(listAll(client, 0));
    assert.equal(fake.requests.length, 200);
    await listAll(client, 0);
    assert.equal(fake.requests.length, 201);
    failures = 9;
    await listAll(client, 0);
    assert.equal(fake.requests.length, 211);
  });

  it('are repeated after a reset', async (t) => {
    const { fake, open } = await s3Bench(t);
    let resets = 4;
    fake.rules.fault = () => (resets-- > 0 ? 'reset' : undefined);
    await open({ endpoint: ENDPOINT }).write(KEY, bytesSource(ltxLike(100)));
    assert.equal(fake.objects.size, 1);
  });

  it('are final where nothing else can be expected', async (t) => {
    for (const [status, code] of [
      [403, 'AccessDenied'],
      [403, 'SignatureDoesNotMatch'],
      [404, 'NoSuchBucket'],
      [409, 'InvalidBucketState'],
      [501, 'NotImplemented'],
      [400, 'MalformedXML'],
    ] as const) {
      const { fake, open } = await s3Bench(t);
      fake.rules.fault = () => ({ status, code, message: 'because' });
      await assert.rejects(listAll(open({ endpoint: ENDPOINT }), 0), {
        code: status === 403 ? 'ERR_STORAGE_DENIED' : 'ERR_STORAGE',
        message: `s3: list objects page: ${code}: because (status ${status}, request 1)`,
      });
      assert.equal(fake.requests.length, 1);
    }
  });

  it('end with the signal, and are not repeated then', async (t) => {
    const { fake, open } = await s3Bench(t);
    const stop = new AbortController();
    fake.rules.fault = () => {
      stop.abort();
      return { status: 408, code: 'RequestCanceled' };
    };
    const { signal } = stop;
    const write = open({ endpoint: ENDPOINT }).write(KEY, bytesSource(ltxLike(100)), { signal });
    await assert.rejects(write, { code: 'ERR_ABORTED' });
    assert.equal(fake.requests.length, 1);
  });

  it('name a host that does not exist, at once', async () => {
    const client = createS3Client(
      s3Location({
        endpoint: 'http://no-such-host.invalid',
        accessKeyId: 'a',
        secretAccessKey: 'b',
      }),
      { clock: systemClock, fileSystem: nodeFileSystem },
    );
    try {
      await assert.rejects(listAll(client, 0), (error: Error) => {
        // A machine without a name server cannot tell.
        assert.match(error.message, /no-such-host\.invalid/);
        return true;
      });
    } finally {
      await client.close();
    }
  });

  it('are signed with the right time once the store has told it', async (t) => {
    const { fake, open } = await s3Bench(t, { clockOffsetMs: 3_600_000 });
    const client = open({ endpoint: ENDPOINT });
    await client.write(KEY, bytesSource(ltxLike(100)));
    await listAll(client, 0);
    assert.deepEqual(
      fake.requests.slice(0, 3).map(({ status }) => status),
      [403, 200, 200],
    );
  });

  it('are shown as they are on the wire where that is asked for', async (t) => {
    const shown = async (debug: string): Promise<[string, string][]> => {
      const { fake, open, lines } = await s3Bench(t);
      const environment = { LITESTREAM_S3_DEBUG: debug };
      let failures = 1;
      fake.rules.fault = () => (failures-- > 0 ? { status: 503, code: 'SlowDown' } : undefined);
      const client = open({ endpoint: ENDPOINT }, { environment });
      await client.write(KEY, bytesSource(ltxLike(100)));
      await client.delete([KEY]);
      return lines
        .filter(([line]) => /^(?:info|warn) /.test(line))
        .map(([line, attributes]) => [line, inspect(attributes, { depth: 9 })]);
    };
    assert.deepEqual(await shown(''), []);
    const names = (lines: [string, string][]): string[] => [
      ...new Set(lines.map(([line]) => line)),
    ];
    assert.deepEqual(names(await shown('retries')), ['info s3 attempt failed']);
    assert.deepEqual(names(await shown('signing, REQUEST')), [
      'info s3 signing',
      'info s3 wire request',
    ]);
    const [unknown] = await shown('request ,x');
    assert.equal(
      unknown?.[0],
      'warn unknown LITESTREAM_S3_DEBUG value, expected: signing, request, request-with-body, response, response-with-body, retries, all',
    );
    const all = (await shown('all')).flat().join('\n');
    for (const text of ['<Delete', '100 bytes', 'DeleteResult', 'SlowDown', 'host;x-amz-']) {
      assert.ok(all.includes(text), text);
    }
    assert.doesNotMatch(all, /Signature=|litestream\+secret/);
  });

  it('tell nothing that is secret', async (t) => {
    const secretAccessKey = makeSecret('S3 secret key', 'very+secret/');
    const sseCustomerKey = makeSecretKey('SSE-C key', 32);
    const password = makeSecret('password in a URL');
    const { fake, open, lines } = await s3Bench(t);
    const errors: unknown[] = [];
    const location = {
      endpoint: `https://user:${password}@store.test`,
      secretAccessKey,
      sseCustomerKey,
    };
    const client = open(location);
    const attempts = [
      () => client.write(KEY, bytesSource(ltxLike(100))),
      () => client.write(KEY, bytesSource(ltxLike(100)), { ifAbsent: true }),
      () => readAll(client, KEY),
      () => listAll(client, 0),
      () => client.delete([KEY]),
    ];
    for (const fault of [undefined, { status: 503 }, 'reset'] as const) {
      fake.rules.fault = () => fault;
      for (const attempt of attempts) {
        await attempt().then(
          () => assert.fail('succeeds'),
          (error: unknown) => errors.push(error),
        );
      }
    }
    const text = inspect([errors, lines, client.location], { depth: 20, showHidden: true });
    for (const secret of [secretAccessKey, sseCustomerKey, password]) {
      assert.ok(!text.includes(secret), secret);
      assert.ok(!text.includes(encodeURIComponent(secret)), secret);
    }
  });
});

describe('the region of a bucket', () => {
  it('is looked up at AWS, once', async (t) => {
    const { fake, open } = await s3Bench(t, { region: 'eu-central-1' });
    fake.rules.fault = ({ query, region }) => {
      if (query['location'] === undefined) return undefined;
      assert.equal(region, 'us-east-1');
      return {
        status: 200,
        body: '<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/">eu-central-1</LocationConstraint>',
      };
    };
    const client = open();
    await Promise.all([listAll(client, 0), listAll(client, 1), client.init()]);
    const hosts = fake.requests.map(({ headers, target }) => `${headers['host']}${target}`);
    assert.deepEqual(
      hosts.filter((host) => host.includes('location')),
      ['testbucket.s3.us-east-1.amazonaws.com/?location='],
    );
    assert.ok(hosts.at(-1)?.startsWith('testbucket.s3.eu-central-1.amazonaws.com/?list-type=2'));
  });

  it('has two old names', async (t) => {
    for (const [answer, region] of [
      ['<LocationConstraint/>', 'us-east-1'],
      ['<LocationConstraint>EU</LocationConstraint>', 'eu-west-1'],
    ] as const) {
      const { fake, open } = await s3Bench(t);
      fake.rules.fault = ({ query }) =>
        query['location'] === undefined ? undefined : { status: 200, body: answer };
      await listAll(open(), 0);
      assert.equal(fake.requests.at(-1)?.region, region);
    }
  });

  it('is taken from a header, or the environment, where the question is not allowed', async (t) => {
    const { fake, open, lines } = await s3Bench(t);
    let header = 'ap-south-1';
    fake.rules.fault = ({ query, method }) => {
      if (query['location'] !== undefined) return { status: 403, code: 'AccessDenied' };
      if (method !== 'HEAD') return undefined;
      return { status: 403, headers: header === '' ? {} : { 'x-amz-bucket-region': header } };
    };
    await listAll(open(), 0);
    assert.equal(fake.requests.at(-1)?.region, 'ap-south-1');
    header = '';
    await listAll(open({}, { environment: { AWS_REGION: 'sa-east-1' } }), 0);
    assert.equal(fake.requests.at(-1)?.region, 'sa-east-1');
    const client = open();
    await assert.rejects(client.init(), {
      code: 'ERR_STORAGE_DENIED',
      message: /^s3: cannot lookup bucket region: .*AccessDenied/,
    });
    header = 'eu-west-3';
    await client.init();
    await listAll(client, 0);
    assert.equal(fake.requests.at(-1)?.region, 'eu-west-3');
    assert.equal(lines.length > 0, true);
  });

  it('is named when it is the wrong one', async (t) => {
    const { fake, open } = await s3Bench(t);
    fake.rules.fault = () => ({
      status: 301,
      code: 'PermanentRedirect',
      headers: { 'x-amz-bucket-region': 'eu-west-2', location: 'http://127.0.0.1:1/' },
    });
    await assert.rejects(listAll(open({ region: 'us-east-1' }), 0), {
      code: 'ERR_STORAGE',
      message: /PermanentRedirect/,
      hint: 'the bucket is in the region eu-west-2',
    });
  });

  it('is that of the access point', async (t) => {
    const host = 'my-point-123456789012.s3-accesspoint.us-west-2.amazonaws.com';
    const { fake, open } = await s3Bench(t, { bucketHosts: [host] });
    const bucket = 'arn:aws:s3:us-west-2:123456789012:accesspoint/my-point';
    await open({ bucket, region: 'eu-west-1' }).write(KEY, bytesSource(ltxLike(100)));
    assert.deepEqual([...fake.objects.keys()], [NAME]);
    assert.partialDeepStrictEqual(fake.requests[0], { region: 'us-west-2', headers: { host } });
  });

  it('is us-east-1 at other services unless it is set', async (t) => {
    const { fake, open } = await s3Bench(t, { pathPrefix: '/storage/v1/s3' });
    const endpoint = 'https://ref.supabase.co/storage/v1/s3';
    for (const region of ['', 'local']) {
      await listAll(open({ endpoint, region }), 0);
      assert.equal(fake.requests.at(-1)?.region, region || 'us-east-1');
      assert.ok(fake.requests.at(-1)?.target.startsWith('/storage/v1/s3/testbucket?'));
    }
    const environment = { AWS_ENDPOINT_URL_S3: 'http://minio.test:9000' };
    fake.rules.pathPrefix = '';
    await listAll(open({}, { environment }), 0);
    assert.equal(fake.requests.at(-1)?.headers['host'], 'minio.test:9000');
  });
});
