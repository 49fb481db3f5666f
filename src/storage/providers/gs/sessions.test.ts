/** Uploads in sessions, against a server of the tests that follows the published rules; the emulator does not. */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { GcsServer } from '../../../../test/support/servers/gcs-server.ts';
import {
  answers,
  type Exchange,
  fileScope,
  first,
  type Scope,
} from '../../../../test/support/servers/index.ts';
import { systemClock, yieldToLoop } from '../../../lib/clock.ts';
import type { LitestreamError } from '../../../lib/errors.ts';
import {
  chunkedSource,
  fileKey,
  listAll,
  ltxLike,
  replicaClientSuite,
} from '../../../testing/index.ts';
import type { ReplicaClient, WriteSource } from '../../contract.ts';
import { HttpClient } from '../../http/index.ts';
import { bytesSource } from '../../sources.ts';
import { readAll } from '../../streams.ts';
import { GsApi } from './api.ts';
import { GsReplicaClient } from './client.ts';

const MIB = 1024 * 1024;
const CHUNK = 8 * MIB;
const KEY = 'p/ltx/0/0000000000000001-0000000000000001.ltx';

function openClient(server: GcsServer, path: string): ReplicaClient {
  const http = new HttpClient({ clock: systemClock });
  const { bucket, proxy } = server;
  server.tokens.add('token');
  const api = new GsApi({
    bucket,
    target: { protocol: 'http:', host: '127.0.0.1', port: proxy.port },
    resumes: true,
    http,
    credentials: {
      headers: () => Promise.resolve({ authorization: 'Bearer token' }),
      renew() {
        // This token does not end.
      },
    },
    clock: systemClock,
    // Retries follow each other at once.
    random: () => 0,
  });
  return new GsReplicaClient({ api, path, close: () => http.close() });
}

const scope: Scope = fileScope();

replicaClientSuite(
  'gs with sessions',
  async () => {
    const server = await GcsServer.start(scope, { pageSize: 100 });
    return {
      open: (path) => Promise.resolve(openClient(server, path)),
      putForeign(path, level, name, bytes) {
        server.put(`${path}/ltx/${level}/${name}`, bytes);
        return Promise.resolve();
      },
      keys: () => Promise.resolve([...server.objects.keys()]),
      dispose: () => Promise.resolve(),
    };
  },
  { manyFiles: 350 },
);

interface Bench {
  readonly server: GcsServer;
  readonly client: ReplicaClient;
}

async function makeBench(t: TestContext): Promise<Bench> {
  const server = await GcsServer.start(t);
  const client = openClient(server, 'p');
  t.after(() => client.close());
  return { server, client };
}

async function failureOf(work: Promise<unknown>): Promise<LitestreamError> {
  try {
    await work;
  } catch (error) {
    return error as LitestreamError;
  }
  return assert.fail('it worked');
}

/** Requests for the chunk that begins at this byte. */
function chunkAt(offset: number): (exchange: Exchange) => boolean {
  return ({ method, headers }) =>
    method === 'PUT' && (headers['content-range'] ?? '').startsWith(`bytes ${offset}-`);
}

describe('uploads in sessions', () => {
  it('send chunks of 8 MiB, without credentials to an address that is a secret itself', async (t) => {
    const { server, client } = await makeBench(t);
    const bytes = ltxLike(2 * CHUNK + 5);
    await client.write(fileKey(0, 1), chunkedSource(bytes, 100_000));
    const puts = server.proxy.where('PUT');
    assert.deepEqual(
      puts.map(({ headers }) => headers['content-range']),
      [
        `bytes 0-8388607/${bytes.length}`,
        `bytes 8388608-16777215/${bytes.length}`,
        `bytes 16777216-16777220/${bytes.length}`,
      ],
    );
    assert.ok(puts.every(({ headers }) => headers['authorization'] === undefined));
    assert.ok(server.objects.get(KEY)?.bytes.equals(bytes));
    assert.deepEqual(server.objects.get(KEY)?.metadata, {
      'litestream-timestamp': '2025-01-01T00:00:00.123Z',
    });
  });

  it('end with a whole chunk as well', async (t) => {
    const { server, client } = await makeBench(t);
    const bytes = ltxLike(2 * CHUNK);
    await client.write(fileKey(0, 1), chunkedSource(bytes, 100_000));
    assert.ok(server.objects.get(KEY)?.bytes.equals(bytes));
    assert.equal(server.proxy.where('PUT').length, 2);
  });

  it('go on where they were when a chunk breaks (BKD-07)', async (t) => {
    const { server, client } = await makeBench(t);
    const bytes = ltxLike(2 * CHUNK + 5);
    for (const offset of [0, CHUNK, 2 * CHUNK]) {
      const match = chunkAt(offset);
      const faults = [
        answers(2, 503, { match }),
        first(1, { kind: 'cut-upload', bytes: 2 }, match),
        first(2, { kind: 'lose-answer' }, match),
        first(1, { kind: 'refuse' }, match),
      ];
      for (const [index, fault] of faults.entries()) {
        server.objects.clear();
        server.proxy.exchanges.length = 0;
        server.proxy.fault = fault;
        await client.write(fileKey(0, 1), bytesSource(bytes));
        const what = `fault ${index} at ${offset}`;
        assert.ok(server.objects.get(KEY)?.bytes.equals(bytes), what);
        assert.equal(server.proxy.where('POST').length, 1, `${what}: one session`);
      }
    }
  });

  it('send only what the store does not have', async (t) => {
    const { server, client } = await makeBench(t);
    const bytes = ltxLike(CHUNK + 5);
    let kept = 0;
    server.proxy.fault = first(1, { kind: 'answer', status: 503 }, (exchange) => {
      const matches = chunkAt(0)(exchange);
      const [session] = server.sessions.values();
      // A part of the chunk had arrived.
      if (matches && session !== undefined) {
        kept = 3 * 256 * 1024;
        session.bytes = Buffer.from(bytes.subarray(0, kept));
      }
      return matches;
    });
    await client.write(fileKey(0, 1), bytesSource(bytes));
    assert.ok(server.objects.get(KEY)?.bytes.equals(bytes));
    const again = server.proxy.where('PUT').filter(chunkAt(kept));
    assert.deepEqual(
      again.map(({ body }) => body.length),
      [CHUNK - kept],
    );
  });

  it('can be tried again later if the store has lost the session', async (t) => {
    const { server, client } = await makeBench(t);
    server.proxy.fault = (exchange) => {
      if (chunkAt(CHUNK)(exchange)) server.sessions.clear();
      return undefined;
    };
    const write = client.write(fileKey(0, 1), bytesSource(ltxLike(CHUNK + 5)));
    const error = await failureOf(write);
    assert.equal(error.code, 'ERR_STORAGE_TEMPORARY');
    assert.equal(error.retryable, true);
    assert.match(error.message, new RegExp(`^gs: put object "${KEY}": upload session is gone`));
    assert.equal(server.objects.size, 0);
  });

  it('with ifAbsent notice a file that came while the chunks were on their way', async (t) => {
    const { server, client } = await makeBench(t);
    server.proxy.fault = (exchange) => {
      if (chunkAt(CHUNK)(exchange)) server.put(KEY, ltxLike(200));
      return undefined;
    };
    const source = bytesSource(ltxLike(CHUNK + 5));
    const error = await failureOf(client.write(fileKey(0, 1), source, { ifAbsent: true }));
    assert.equal(error.code, 'ERR_STORAGE_EXISTS');
    assert.equal(server.objects.get(KEY)?.bytes.length, 200);
  });

  it('fail if the store has other bytes than were sent', async (t) => {
    const { server, client } = await makeBench(t);
    server.proxy.fault = (exchange) => {
      const [session] = server.sessions.values();
      if (chunkAt(CHUNK)(exchange) && session !== undefined) session.bytes.fill(0, 500, 600);
      return undefined;
    };
    const write = client.write(fileKey(0, 1), bytesSource(ltxLike(CHUNK + 5)));
    const error = await failureOf(write);
    assert.equal(error.retryable, true);
    assert.match(error.message, /the store has other bytes than were sent/);
  });

  it('are ended in the store when the source fails or the caller gives up', async (t) => {
    const { server, client } = await makeBench(t);
    const controller = new AbortController();
    const failing = (error: Error | undefined): WriteSource => ({
      size: 3 * CHUNK,
      async *stream() {
        await Promise.resolve();
        yield ltxLike(CHUNK + 100);
        if (error !== undefined) throw error;
        controller.abort();
        yield ltxLike(CHUNK);
      },
    });
    await assert.rejects(client.write(fileKey(0, 1), failing(new Error('disk gone'))), /disk gone/);
    const { signal } = controller;
    await assert.rejects(client.write(fileKey(0, 1), failing(undefined), { signal }), {
      code: 'ERR_ABORTED',
    });
    assert.equal(server.proxy.where('DELETE', /upload_id=/).length, 2);
    assert.equal(server.sessions.size, 0);
    assert.deepEqual(await listAll(client, 0), []);
  });

  it('read no more than a chunk ahead of a store that is slow (BKD-08)', async (t) => {
    const { server, client } = await makeBench(t);
    const controller = new AbortController();
    server.proxy.fault = first(1, { kind: 'silence' }, chunkAt(0));
    let read = 0;
    const bytes = ltxLike(4 * CHUNK);
    const source: WriteSource = {
      size: bytes.length,
      async *stream() {
        for (let at = 0; at < bytes.length; at += MIB) {
          await yieldToLoop();
          read = at + MIB;
          yield bytes.subarray(at, at + MIB);
        }
      },
    };
    const write = client.write(fileKey(0, 1), source, { signal: controller.signal });
    while (server.proxy.where('PUT').length === 0) await yieldToLoop();
    for (let turn = 0; turn < 200; turn++) await yieldToLoop();
    assert.ok(read <= CHUNK + MIB, `${read} bytes read`);
    controller.abort();
    await assert.rejects(write, { code: 'ERR_ABORTED' });
  });

  it('of small files are refused if their bytes change on the way', async (t) => {
    const { server, client } = await makeBench(t);
    const bytes = ltxLike(500);
    await client.write(fileKey(0, 1), bytesSource(bytes));
    assert.deepEqual(await readAll(client, fileKey(0, 1)), bytes);
    const [{ body } = assert.fail('no request')] = server.proxy.where('POST');
    assert.match(String(body), /"md5Hash":"[A-Za-z0-9+/]{22}=="/);
  });
});
