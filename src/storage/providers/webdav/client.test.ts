import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { systemClock } from '../../../lib/clock.ts';
import { LitestreamError } from '../../../lib/errors.ts';
import { nodeFileSystem } from '../../../lib/file-system.ts';
import { chunkedSource, fileKey, listAll, ltxLike } from '../../../testing/index.ts';
import type { ObjectInfo, ReplicaClient } from '../../contract.ts';
import type { WebdavLocation } from '../../locations.ts';
import { bytesSource } from '../../sources.ts';
import { collect, readAll, readRange } from '../../streams.ts';
import { createWebdavClient } from './index.ts';
import { TestServer, type SeenRequest } from './test-server.ts';
import { checkedLogger, guarded } from '../../../../test/support/guarded.ts';
import { makeSecret } from '../../../../test/support/secrets.ts';

const NAME = '0000000000000001-0000000000000001.ltx';
const PATH = `/dav/p/ltx/0/${NAME}`;
const KEY = fileKey(0, 1);
const PASSWORD = makeSecret('WebDAV password');

let server: TestServer;
let clients: ReplicaClient[];
let logged: string[];

function open(location: Partial<WebdavLocation> = {}): ReplicaClient {
  const client = createWebdavClient(
    {
      type: 'webdav',
      url: `${server.url}/dav/`,
      username: 'user',
      password: PASSWORD,
      path: 'p',
      ...location,
    },
    {
      clock: systemClock,
      fileSystem: nodeFileSystem,
      // No waits between attempts.
      random: () => 0,
      logger,
    },
  );
  clients.push(client);
  return guarded(client);
}

const logger = checkedLogger((level, message) => {
  logged.push(`${level} ${message}`);
});

/** Makes a location that a client has used before, and forgets the requests. */
async function warm(client: ReplicaClient): Promise<void> {
  await client.write(fileKey(0, 1000), bytesSource(ltxLike(100)));
  await client.delete([fileKey(0, 1000)]);
  server.take();
}

async function fails(work: Promise<unknown>): Promise<LitestreamError> {
  const error: unknown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof LitestreamError, String(error));
  for (const secret of [PASSWORD, Buffer.from(`user:${PASSWORD}`).toString('base64')]) {
    assert.ok(!`${error.message} ${error.hint} ${JSON.stringify(error.details)}`.includes(secret));
  }
  return error;
}

describe('webdav client', () => {
  beforeEach(async () => {
    server = await TestServer.start();
    server.collections.add('/dav/');
    clients = [];
    logged = [];
  });
  afterEach(async () => {
    for (const client of clients) await client.close();
    server.close();
  });

  describe('writing', () => {
    it('makes the parents once, then costs two requests for each file', async () => {
      const client = open();
      await client.write(KEY, bytesSource(ltxLike(100)));
      const made = server.take().filter((line) => line.startsWith('MKCOL'));
      assert.equal(made.filter((line) => line === 'MKCOL /dav/p/').length, 1);
      assert.equal(made.at(-1), 'MKCOL /dav/p/ltx/0/');
      await client.write(fileKey(0, 2), bytesSource(ltxLike(100)));
      const lines = server.take();
      assert.equal(lines.length, 2, lines.join('\n'));
      assert.match(lines[0] ?? '', /^PUT .*\.ltx\.[0-9a-f]+\.tmp$/);
      assert.match(lines[1] ?? '', /^MOVE .*\.tmp$/);
    });

    it('always says how long the body is', async () => {
      const client = open();
      for (const size of [100, 5000, 1_500_000]) {
        await client.write(KEY, chunkedSource(ltxLike(size), 10_000));
        assert.equal(server.files.get(PATH)?.length, size);
      }
      const puts = server.requests.filter(({ method }) => method === 'PUT');
      for (const { headers, body } of puts) {
        assert.equal(headers['content-length'], String(body.length));
        assert.equal(headers['x-oc-mtime'], '1735689600');
        assert.equal(headers['expect'], undefined);
      }
    });

    it('leaves nothing in the folder for temporary files', async () => {
      const spools = (): string[] =>
        readdirSync(tmpdir()).filter((name) => name.startsWith('litestream-webdav-'));
      const before = spools();
      await open().write(KEY, chunkedSource(ltxLike(1_500_000), 100_000));
      await assert.rejects(
        open().write(KEY, { ...chunkedSource(ltxLike(1_500_000)), size: 2_000_000 }),
      );
      assert.deepEqual(spools(), before);
    });

    it('makes collections again that somebody has removed', async () => {
      const client = open();
      await warm(client);
      await client.write(KEY, bytesSource(ltxLike(100)));
      server.files.clear();
      for (const name of server.collections) {
        if (name !== '/' && name !== '/dav/') server.collections.delete(name);
      }
      await client.write(KEY, bytesSource(ltxLike(200)));
      assert.equal(server.files.get(PATH)?.length, 200);
    });

    it('removes old leftovers of killed uploads, and no others (BKD-01)', async () => {
      const client = open();
      await client.write(KEY, bytesSource(ltxLike(100)));
      const folder = '/dav/p/ltx/0/';
      const old = `${folder}${NAME}.0011aabbccdd.tmp`;
      const fresh = `${folder}${NAME}.ddccbbaa1100.tmp`;
      const foreign = `${folder}notes.tmp`;
      for (const path of [old, fresh, foreign]) server.files.set(path, Buffer.from('x'));
      for (const path of [old, foreign]) server.modified.set(path, 'Sat, 21 Nov 2026 10:59:00 GMT');
      await open().write(fileKey(0, 2), bytesSource(ltxLike(100)));
      assert.deepEqual(
        [old, fresh, foreign].filter((path) => server.files.has(path)),
        [fresh, foreign],
      );
    });

    it('survives lost answers', async () => {
      for (const method of ['PUT', 'MOVE', 'MKCOL', 'PROPFIND', 'OPTIONS']) {
        let left = 2;
        server.rule = (request) =>
          request.method === method && left-- > 0 ? 'do it and reset' : undefined;
        server.files.clear();
        await open().write(KEY, bytesSource(ltxLike(100)));
        assert.deepEqual([...server.files.keys()], [PATH], method);
      }
    });

    it('says that the file exists if its own first try has arrived, for the caller to compare', async () => {
      let left = 1;
      server.rule = ({ method }) =>
        method === 'MOVE' && left-- > 0 ? 'do it and reset' : undefined;
      const error = await fails(open().write(KEY, bytesSource(ltxLike(100)), { ifAbsent: true }));
      assert.equal(error.code, 'ERR_STORAGE_EXISTS');
      assert.deepEqual([...server.files.keys()], [PATH]);
    });

    it('keeps an existing file with ifAbsent', async () => {
      for (const move of [true, false]) {
        server.files.set(PATH, Buffer.from('foreign'));
        server.rule = ({ method }) => (method === 'MOVE' && !move ? { status: 405 } : undefined);
        const client = open();
        for (let n = 0; n < 2; n++) {
          const error = await fails(
            client.write(KEY, bytesSource(ltxLike(100)), { ifAbsent: true }),
          );
          assert.equal(error.code, 'ERR_STORAGE_EXISTS');
        }
        assert.deepEqual([...server.files], [[PATH, Buffer.from('foreign')]]);
        await client.write(fileKey(0, 2), bytesSource(ltxLike(100)), { ifAbsent: true });
        assert.equal(server.files.size, 2);
        server.files.clear();
      }
    });

    it('puts files in place directly where MOVE does not work, and says so once', async () => {
      server.rule = ({ method }) => (method === 'MOVE' ? { status: 501 } : undefined);
      const client = open();
      for (let txid = 1; txid <= 3; txid++) {
        await client.write(fileKey(0, txid), bytesSource(ltxLike(100)));
      }
      assert.equal(server.files.size, 3);
      assert.deepEqual(logged, ['warn MOVE does not work on this server: uploads are not atomic']);
    });

    it('does not trust a server that moves to somewhere else', async () => {
      server.rule = ({ method, url }) => {
        if (method !== 'MOVE') return undefined;
        server.files.delete(decodeURIComponent(url));
        return { status: 201 };
      };
      const client = open();
      await client.write(KEY, bytesSource(ltxLike(100)));
      await client.write(fileKey(0, 2), bytesSource(ltxLike(100)));
      assert.equal(server.files.size, 2);
    });

    it('never asks to move to a name that servers cut off', async () => {
      const client = open({ path: 'x/#?;%/y' });
      await client.write(KEY, bytesSource(ltxLike(100)));
      assert.deepEqual([...server.files.keys()], [`/dav/x/#?;%/y/ltx/0/${NAME}`]);
      assert.equal(server.requests.filter(({ method }) => method === 'MOVE').length, 0);
    });

    it('names the target by its path behind a proxy that ends TLS', async () => {
      const seen: (string | undefined)[] = [];
      server.rule = ({ method, headers }) => {
        if (method !== 'MOVE') return undefined;
        seen.push(headers['destination']);
        return headers['destination']?.startsWith('http') === true ? { status: 502 } : undefined;
      };
      const client = open();
      await client.write(KEY, bytesSource(ltxLike(100)));
      await client.write(fileKey(0, 2), bytesSource(ltxLike(100)));
      assert.deepEqual(seen, [`${server.url}${PATH}`, PATH, PATH.replaceAll('1', '2')]);
    });
  });

  describe('reading', () => {
    const bytes = ltxLike(300_000);

    it('skips and stops where the server ignores ranges', async () => {
      server.files.set(PATH, Buffer.from(bytes));
      for (const ranges of [true, false]) {
        server.ranges = ranges;
        for (const [offset, size] of [
          [0, 0],
          [0, 100],
          [5, 7],
          [150_000, 0],
          [299_999, 5],
        ] as const) {
          const end = size === 0 ? undefined : offset + size;
          const found = await readRange(open(), KEY, { offset, size });
          assert.deepEqual(found, bytes.subarray(offset, end), `${offset}, ${size}`);
        }
        assert.equal((await readRange(open(), KEY, { offset: 300_000 })).length, 0);
      }
    });

    it('asks for no range for a whole file', async () => {
      server.files.set(PATH, Buffer.from(bytes));
      await readAll(open(), KEY);
      assert.equal(server.requests.at(-1)?.headers['range'], undefined);
      assert.equal(server.requests.at(-1)?.headers['accept-encoding'], 'identity');
    });

    it('does not take another part for the one that it asked for', async () => {
      const answer = (range: string) => (): ReturnType<TestServer['rule']> => ({
        status: 206,
        headers: { 'content-range': range },
        body: 'x'.repeat(100),
      });
      server.rule = (request) =>
        request.method === 'GET' ? answer('bytes 60-159/200')() : undefined;
      const error = await fails(readRange(open(), KEY, { offset: 50, size: 100 }));
      assert.match(error.message, /asked for bytes from 50, got "bytes 60-159\/200"/);
      server.rule = (request) =>
        request.method === 'GET' ? answer('bytes 10-109/200')() : undefined;
      assert.equal((await readRange(open(), KEY, { offset: 50, size: 20 })).length, 20);
    });

    it('says not found, with the name', async () => {
      for (const status of [404, 410]) {
        server.rule = ({ method }) => (method === 'GET' ? { status } : undefined);
        const error = await fails(readAll(open(), KEY));
        assert.equal(error.code, 'ERR_STORAGE_NOT_FOUND');
        assert.equal(
          error.message,
          `webdav: cannot read file "p/ltx/0/${NAME}": file does not exist`,
        );
      }
    });
  });

  describe('listing', () => {
    beforeEach(async () => {
      const client = open();
      for (const txid of [3, 1, 2]) {
        await client.write(fileKey(0, txid), bytesSource(ltxLike(100, 1_700_000_000_000 + txid)));
      }
      server.take();
    });
    const times = [1_700_000_000_001, 1_700_000_000_002, 1_700_000_000_003];

    it('takes the time of the upload if that will do', async () => {
      const files = [];
      for await (const file of open().list(0)) files.push(file);
      assert.deepEqual(
        files.map(({ minTxid, size, createdAt }) => [minTxid, size, createdAt]),
        [1n, 2n, 3n].map((txid) => [txid, 100, Date.UTC(2026, 10, 21, 11, 59)]),
      );
      assert.deepEqual(server.take(), ['OPTIONS /dav/', 'PROPFIND /dav/p/ltx/0/']);
    });

    it('reads each header once for the exact time (BKD-09)', async () => {
      const client = open();
      for (let n = 0; n < 3; n++) {
        const files = await listAll(client, 0);
        assert.deepEqual(
          files.map(({ createdAt }) => createdAt),
          times,
        );
      }
      const gets = server.requests.filter(({ method }) => method === 'GET');
      assert.equal(gets.length, 3);
      assert.ok(gets.every(({ headers }) => headers['range'] === 'bytes=0-99'));
      await client.write(fileKey(0, 2), bytesSource(ltxLike(101, 1_800_000_000_000)));
      const [, second] = await listAll(client, 0);
      assert.equal(second?.createdAt, 1_800_000_000_000);
    });

    it('uses the time of the upload for a file without a header, and says so', async () => {
      server.files.set(PATH, Buffer.from('no ltx'));
      const [first] = await listAll(open(), 0);
      assert.equal(first?.createdAt, Date.UTC(2026, 10, 21, 11, 59));
      assert.deepEqual(logged, ['warn no time in the header, using the time of the upload']);
    });

    it('leaves out what is deleted between listing and reading', async () => {
      server.rule = ({ method, url }) =>
        method === 'GET' && url.endsWith(NAME) ? { status: 404 } : undefined;
      assert.deepEqual(
        (await listAll(open(), 0)).map(({ minTxid }) => minTxid),
        [2n, 3n],
      );
    });

    it('understands the listings of many servers (BKD-10)', async () => {
      const infinite =
        '<D:response><D:href>/dav/p/ltx/0/deep/00000000000000aa-00000000000000aa.ltx</D:href></D:response>';
      const rewrites: Readonly<Record<string, (xml: string) => string>> = {
        'whole URLs': (xml) => xml.replaceAll('<D:href>', '<D:href>https://elsewhere.test'),
        'another prefix': (xml) => xml.replaceAll('<D:href>/dav', '<D:href>/inner/remote.php'),
        'no prefix': (xml) => xml.replaceAll('<D:href>/dav', '<D:href>'),
        'no entry for the collection': (xml) => xml.replace(/<D:response>.*?<\/D:response>/, ''),
        'no slash behind collections': (xml) => xml.replaceAll('/0/</D:href>', '/0</D:href>'),
        'more than asked for': (xml) =>
          xml.replace('</D:multistatus>', `${infinite}</D:multistatus>`),
        'other namespaces': (xml) => xml.replaceAll('D:', 'lp1:').replace('xmlns:lp1', 'xmlns:lp1'),
        'properties not found first': (xml) =>
          xml.replaceAll(
            '<D:propstat>',
            '<D:propstat><D:prop><D:getetag/></D:prop><D:status>HTTP/1.1 404 Not Found</D:status></D:propstat><D:propstat>',
          ),
        'escaped letters': (xml) => xml.replaceAll('-', '%2D').replaceAll('1%2D', '1%2d'),
        'a collection with the name of a file': (xml) =>
          xml.replace(
            '</D:multistatus>',
            '<D:response><D:href>/dav/p/ltx/0/0000000000000009-0000000000000009.ltx/</D:href><D:propstat><D:prop><D:resourcetype><D:collection/></D:resourcetype></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response></D:multistatus>',
          ),
      };
      for (const [name, rewrite] of Object.entries(rewrites)) {
        server.rewrite = rewrite;
        assert.deepEqual(
          (await listAll(open(), 0)).map(({ minTxid }) => minTxid),
          [1n, 2n, 3n],
          name,
        );
      }
    });

    it('takes nothing else for a listing', async () => {
      const rewrites = [
        (): string => '<html><body>log in</body></html>',
        (): string => '',
        (xml: string): string => xml.slice(0, xml.length / 2),
        (xml: string): string => xml.replace(/<D:getcontentlength>.*?<\/D:getcontentlength>/, ''),
      ];
      for (const rewrite of rewrites) {
        server.rewrite = rewrite;
        const error = await fails(listAll(open(), 0));
        assert.match(error.message, /^webdav: cannot read directory "p\/ltx\/0": /);
      }
      server.rule = ({ method }) => (method === 'PROPFIND' ? { status: 200 } : undefined);
      await fails(listAll(open(), 0));
    });

    it('lists and reads what Litestream v0.3.x has stored', async () => {
      const put = (path: string, text: string): void => {
        let parent = '';
        for (const part of path.split('/').slice(1, -1)) {
          parent += `/${part}`;
          server.collections.add(`${parent}/`);
        }
        server.files.set(path, Buffer.from(text));
      };
      put('/dav/p/generations/a1/snapshots/1.snapshot.lz4', 'snapshot');
      put('/dav/p/generations/a1/wal/2.wal.lz4', 'wal!');
      const client = open();
      const found: ObjectInfo[] = [];
      for await (const object of client.listObjects?.('generations') ?? []) found.push(object);
      assert.deepEqual(
        found.map(({ key, size }) => [key, size]),
        [
          ['generations/a1/snapshots/1.snapshot.lz4', 8],
          ['generations/a1/wal/2.wal.lz4', 4],
        ],
      );
      const [, wal] = found;
      assert.ok(wal !== undefined);
      const stream = client.readObject?.(wal, { offset: 1 }) ?? [].values();
      assert.equal(
        Buffer.from(await collect(stream as AsyncIterable<Uint8Array>)).toString(),
        'al!',
      );
      for await (const object of client.listObjects?.('nothing') ?? []) assert.fail(object.key);
    });
  });

  describe('deleting', () => {
    it('removes the collection of the replica in one request', async () => {
      const client = open();
      await warm(client);
      await client.deleteAll();
      assert.deepEqual(server.take(), ['DELETE /dav/p/']);
      assert.ok(server.collections.has('/dav/'));
    });

    it('keeps the collection of webdav-url if that is the replica', async () => {
      for (const path of ['', '.', '/']) {
        const client = open({ path });
        await client.write(KEY, bytesSource(ltxLike(100)));
        assert.ok(server.files.has(`/dav/ltx/0/${NAME}`), path);
        await client.deleteAll();
        assert.equal(server.files.size, 0);
        assert.deepEqual([...server.collections], ['/', '/dav/']);
      }
    });
  });

  describe('trouble', () => {
    const operations: readonly (readonly [string, (client: ReplicaClient) => Promise<unknown>])[] =
      [
        ['webdav: cannot read directory "p/ltx/0"', (client) => listAll(client, 0)],
        [`webdav: cannot read file "p/ltx/0/${NAME}"`, (client) => readAll(client, KEY)],
        [
          `webdav: cannot write file "p/ltx/0/${NAME}"`,
          (client) => client.write(KEY, bytesSource(ltxLike(100))),
        ],
        [`webdav: cannot delete ltx file "p/ltx/0/${NAME}"`, (client) => client.delete([KEY])],
        ['webdav: cannot delete path "p/"', (client) => client.deleteAll()],
      ];
    const onlyInit = ({ method }: SeenRequest): boolean => method === 'OPTIONS';

    it('is ridden out if it is short (BKD-23)', async () => {
      for (const status of [408, 423, 429, 500, 502, 503, 504]) {
        for (const [what, operation] of operations) {
          const client = open();
          await warm(client);
          server.files.set(PATH, Buffer.from(ltxLike(100)));
          let left = 5;
          server.rule = () =>
            left-- > 0 ? { status, headers: { 'retry-after': '0' } } : undefined;
          await operation(client);
          assert.ok(left < 0, `${status} ${what}`);
        }
      }
    });

    it('is named with status and object if it stays (BKD-23)', async () => {
      for (const [what, operation] of operations) {
        server.rule = (request) => (onlyInit(request) ? undefined : { status: 503 });
        const error = await fails(operation(open()));
        assert.ok(error.message.startsWith(`${what}: gave up after 6 attempts in `), error.message);
        assert.ok(error.message.endsWith(': 503 Service Unavailable'), error.message);
        assert.equal(error.code, 'ERR_STORAGE_TEMPORARY');
        assert.equal(error.retryable, true);
      }
    });

    it('is explained', async () => {
      const cases = [
        [403, 'ERR_STORAGE_DENIED', /permissions/],
        [413, 'ERR_STORAGE', /limit on the size/],
        [507, 'ERR_DISK_FULL', /quota/],
        [405, 'ERR_STORAGE', /webdav-url/],
        [301, 'ERR_STORAGE', /redirects to https:\/\/dav\.test\/; put that into webdav-url/],
      ] as const;
      for (const [status, code, hint] of cases) {
        server.rule = ({ method }) =>
          method === 'PUT' ? { status, headers: { location: 'https://dav.test/' } } : undefined;
        const error = await fails(open().write(KEY, bytesSource(ltxLike(100))));
        assert.equal(error.code, code);
        assert.match(error.hint ?? '', hint);
        assert.match(error.message, new RegExp(`^webdav: cannot write file .*: ${status} `));
        assert.equal(server.files.size, 0);
      }
    });

    it('is told in the words of the server', async () => {
      server.rule = ({ method }) =>
        method === 'PUT'
          ? {
              status: 403,
              body: '<d:error><s:message>Quota of\n  Ada exceeded</s:message></d:error>',
            }
          : undefined;
      const error = await fails(open().write(KEY, bytesSource(ltxLike(100))));
      assert.match(error.message, /: 403 Forbidden \(Quota of Ada exceeded\)$/);
    });

    it('with the login ends the first call', async () => {
      const headers = { 'www-authenticate': 'Basic realm="dav"' };
      server.rule = () => ({ status: 401, headers });
      for (const [, operation] of operations) {
        server.take();
        const error = await fails(operation(open()));
        assert.equal(error.message, 'webdav: cannot connect to server: 401 Unauthorized');
        assert.equal(error.code, 'ERR_STORAGE_DENIED');
        assert.match(error.hint ?? '', /webdav-username and webdav-password/);
        assert.equal(server.take().length, 2, 'once without, once with the password');
      }
    });

    it('does not come from servers that know no OPTIONS', async () => {
      for (const status of [400, 404, 405, 501]) {
        server.rule = (request) => (onlyInit(request) ? { status } : undefined);
        await open().write(KEY, bytesSource(ltxLike(100)));
        assert.equal(server.files.size, 1);
        server.files.clear();
      }
    });

    it('at the start is no trouble later (BKD-22)', async () => {
      const client = open();
      server.rule = () => 'reset';
      const error = await fails(client.init());
      assert.match(error.message, /^webdav: cannot connect to server: gave up after 6 attempts/);
      server.rule = () => undefined;
      await client.write(KEY, bytesSource(ltxLike(100)));
      assert.equal(server.files.size, 1);
    });
  });

  describe('addresses', () => {
    it('are joined with the path by one slash', async () => {
      const cases = [
        ['', '/p', '/p'],
        ['/', 'p', '/p'],
        ['/dav', 'p', '/dav/p'],
        ['/dav/', '/p/', '/dav/p'],
        ['/dav/a%20b', 'c d/é', '/dav/a%20b/c%20d/%C3%A9'],
        ['/dav/ü', '', '/dav/%C3%BC'],
      ] as const;
      for (const [base, path, expected] of cases) {
        const client = open({ url: server.url + base, path });
        assert.deepEqual(await listAll(client, 0), []);
        assert.equal(server.take().at(-1), `PROPFIND ${expected}/ltx/0/`);
        assert.equal(client.location, server.url + expected + (path === '' ? '/' : ''));
      }
    });

    it('without a usable URL are refused', () => {
      for (const url of [
        '',
        'dav.test',
        'ftp://dav.test',
        'http://',
        'http://h:0/',
        'http://h:99999',
      ]) {
        assert.throws(() => open({ url }), { code: 'ERR_STORAGE_URL' }, url);
      }
    });

    it('may hold the user, who is shown nowhere', async () => {
      const url = server.url.replace('//', `//us%40er:${PASSWORD}@`);
      const headers = { 'www-authenticate': 'Basic realm="dav"' };
      server.rule = (request) =>
        request.headers['authorization'] === undefined ? { status: 401, headers } : undefined;
      const client = open({ url, username: '', password: '' });
      await listAll(client, 0);
      const sent = server.requests.at(-1)?.headers['authorization'] ?? '';
      assert.equal(Buffer.from(sent.slice(6), 'base64').toString(), `us@er:${PASSWORD}`);
      assert.ok(!client.location.includes('secret'));
    });
  });
});
