import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import * as http from 'node:http';
import * as https from 'node:https';
import type { AddressInfo, Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, describe, it } from 'node:test';
import fc from 'fast-check';
import { makeCertificates } from '../../../test/support/certificates.ts';
import { waitFor } from '../../../test/support/wait.ts';
import { present } from '../../lib/assert.ts';
import { systemClock } from '../../lib/clock.ts';
import { isLitestreamError } from '../../lib/errors.ts';
import { FakeClock } from '../../testing/index.ts';
import { HttpClient, type HttpRequest, type HttpResponse, type HttpTarget } from './index.ts';
import { parsePlainHead, requestText } from './plain-head.ts';

const folder = mkdtempSync(join(tmpdir(), 'litestream-direct-'));
const certificates = await makeCertificates(folder);
after(() => {
  rmSync(folder, { recursive: true });
});

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

/** An object of any size whose bytes tell where they belong. */
function content(size: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, at) => (at * 31 + (at >> 8) * 7) & 255);
}

interface Store {
  readonly target: HttpTarget;
  /** Connections so far. */
  connections: number;
  readonly ranges: string[];
}

type Handler = (request: http.IncomingMessage, response: http.ServerResponse) => void;

async function listen(server: Server, protocol: HttpTarget['protocol']): Promise<Store> {
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const sockets = new Set<Socket>();
  const { port } = server.address() as AddressInfo;
  const store: Store = {
    target: { protocol, host: '127.0.0.1', port },
    connections: 0,
    ranges: [],
  };
  server.on('connection', (socket: Socket) => {
    store.connections += 1;
    sockets.add(socket);
    socket.on('error', () => undefined);
  });
  server.on('request', (request: http.IncomingMessage) => {
    store.ranges.push(request.headers.range ?? '');
  });
  closers.push(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return store;
}

function serve(handler: Handler): Promise<Store> {
  return listen(http.createServer({ keepAliveTimeout: 0 }, handler), 'http:');
}

/** Answers a range of the object as stores do. */
function ranges(object: Uint8Array, headers: Readonly<Record<string, string>> = {}): Handler {
  return (request, response) => {
    const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
    const part = object.subarray(Number(from), Number(to) + 1);
    response.writeHead(206, {
      'content-length': String(part.length),
      'content-range': `bytes ${from}-${to}/${object.length}`,
      ...headers,
    });
    response.end(part);
  };
}

function client(options: Partial<ConstructorParameters<typeof HttpClient>[0]> = {}): HttpClient {
  const opened = new HttpClient({ clock: systemClock, ...options });
  closers.push(() => {
    opened.close();
  });
  return opened;
}

function get(
  { target }: Store,
  [from, to]: readonly [number, number],
  rest: Partial<HttpRequest> = {},
): HttpRequest {
  const headers = { range: `bytes=${from}-${to - 1}` };
  return { method: 'GET', target, path: '/o', headers, direct: true, ...rest };
}

/** Everything, in targets of the given sizes, again and again. */
async function drain(response: HttpResponse, sizes: readonly number[]): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for (let turn = 0; ; turn += 1) {
    const target = new Uint8Array(present(sizes[turn % sizes.length], 'size') + 2).fill(0xaa);
    const count = await present(response.fill?.(target.subarray(1, -1)), 'direct answer');
    assert.deepEqual([target[0], target.at(-1)], [0xaa, 0xaa], 'nothing beside the target');
    if (count === 0) return Buffer.concat(pieces);
    pieces.push(target.subarray(1, 1 + count));
  }
}

function sameBytes(found: Uint8Array, expected: Uint8Array): void {
  assert.equal(Buffer.compare(found, expected), 0);
}

async function textOf(response: HttpResponse): Promise<string> {
  assert.ok(!('fill' in response), 'came the ordinary way');
  return await response.text();
}

describe('a direct download', () => {
  it('puts a range into targets of any size, over one connection', async () => {
    const object = content(700_000);
    const store = await serve(ranges(object));
    // Time stands still, or a kept connection might become too old.
    const http = client({ clock: new FakeClock() });
    await fc.assert(
      fc.asyncProperty(
        fc.nat(object.length - 1),
        fc.integer({ min: 1, max: object.length }),
        fc.array(fc.integer({ min: 1, max: 300_000 }), { minLength: 1, maxLength: 4 }),
        async (from, size, sizes) => {
          const to = Math.min(object.length, from + size);
          const small = sizes.map((each) => Math.max(each, Math.ceil((to - from) / 50)));
          const response = await http.send(get(store, [from, to]));
          assert.equal(response.headers['content-range'], `bytes ${from}-${to - 1}/700000`);
          sameBytes(await drain(response, small), object.subarray(from, to));
        },
      ),
      { numRuns: 40 },
    );
    assert.equal(store.connections, 1);
  });

  it('waits for a reader that takes its time, with and without TLS', async (t) => {
    const object = content(3_000_000);
    const stores = [await serve(ranges(object))];
    if (certificates === undefined) {
      t.diagnostic('openssl: not installed, so without TLS');
    } else {
      const cert = await readFile(certificates.serverCert);
      const key = await readFile(certificates.serverKey);
      stores.push(await listen(https.createServer({ cert, key }, ranges(object)), 'https:'));
    }
    for (const store of stores) {
      const response = await client({ skipVerify: true }).send(get(store, [0, object.length]));
      const target = new Uint8Array(object.length);
      for (let at = 0; at < target.length;) {
        // Long enough for whatever the connection holds to arrive.
        await new Promise((resolve) => {
          setTimeout(resolve, 5);
        });
        at += await present(response.fill?.(target.subarray(at, at + 400_000)), 'direct answer');
      }
      sameBytes(target, object);
    }
  });

  it('gives its body as a stream and as a text, too', async () => {
    const object = content(300_000);
    const store = await serve(ranges(object));
    const http = client({ clock: new FakeClock() });
    const { body } = await http.send(get(store, [5, 200_000]));
    const chunks: Uint8Array[] = [];
    for await (const chunk of body) chunks.push(chunk);
    sameBytes(Buffer.concat(chunks), object.subarray(5, 200_000));
    const short = await http.send(get(store, [0, 3]));
    assert.equal(await short.text(), Buffer.from(object.subarray(0, 3)).toString('utf8'));
    assert.equal(store.connections, 1);
  });

  it('closes the connection where the server says so, or the body was not read', async () => {
    const object = content(300_000);
    const closing = await serve(ranges(object, { connection: 'close' }));
    const keeping = await serve(ranges(object));
    const http = client();
    for (let turn = 0; turn < 3; turn += 1) {
      const response = await http.send(get(closing, [0, 1000]));
      assert.equal((await drain(response, [1000])).length, 1000);
      const given = await http.send(get(keeping, [0, object.length]));
      await given.discard();
    }
    assert.equal(closing.connections, 3);
    assert.equal(keeping.connections, 3);
  });

  it('replaces a kept connection that the server has closed', async () => {
    const object = content(1000);
    const sockets: Socket[] = [];
    const store = await serve((request, response) => {
      sockets.push(request.socket);
      // Of the second request on a connection only the beginning is seen.
      if (sockets.filter((each) => each === request.socket).length > 1) request.socket.destroy();
      else ranges(object)(request, response);
    });
    const http = client({ clock: new FakeClock() });
    for (let turn = 0; turn < 3; turn += 1) {
      sameBytes(await drain(await http.send(get(store, [0, 1000])), [1000]), object);
    }
    assert.equal(store.connections, 3);
  });

  it('leaves every other answer to the ordinary client', async () => {
    const answer =
      (status: number, headers: Readonly<Record<string, string>>, text: string): Handler =>
      (_, response) => {
        response.writeHead(status, headers).end(text);
      };
    const answers: Handler[] = [
      answer(200, { 'content-length': '3' }, 'all'),
      answer(503, { 'content-length': '4' }, 'busy'),
      answer(206, {}, 'in chunks'),
      answer(404, {}, ''),
      answer(206, { 'x-a': 'b'.repeat(40_000) }, ''),
    ];
    for (const [number, text] of ['all', 'busy', 'in chunks', ''].entries()) {
      const store = await serve(present(answers[number], 'answer'));
      const response = await client().send(get(store, [0, 10]));
      assert.equal(await textOf(response), text);
      assert.equal(store.ranges.length, 2);
    }
    const store = await serve(present(answers.at(-1), 'answer'));
    await assert.rejects(client().send(get(store, [0, 10])), /Header overflow/);
  });

  it('says what is wrong with a server that is not there, as the ordinary client does', async () => {
    const store = await serve(() => undefined);
    for (const close of closers.splice(0)) close();
    await assert.rejects(client().send(get(store, [0, 10])), (error: unknown) => {
      assert.ok(isLitestreamError(error, 'ERR_STORAGE_TEMPORARY'));
      assert.match(error.message, /connect to 127\.0\.0\.1:\d+: connection refused/);
      return true;
    });
  });
});

describe('a direct download that breaks off', () => {
  it('gives what has come, and then says so', async () => {
    const store = await serve((_, response) => {
      response.writeHead(206, { 'content-length': '1000' });
      response.write(content(600), () => {
        response.destroy();
      });
    });
    const response = await client().send(get(store, [0, 1000]));
    const target = new Uint8Array(1000);
    assert.equal(await response.fill?.(target), 600);
    sameBytes(target.subarray(0, 600), content(600));
    await assert.rejects(present(response.fill?.(target), 'fill'), (error: unknown) => {
      assert.ok(isLitestreamError(error, 'ERR_STORAGE_TEMPORARY'), String(error));
      assert.ok(error.retryable);
      return true;
    });
  });

  it('ends after a silence, before the answer and in its body', async () => {
    for (const begins of [false, true]) {
      const clock = new FakeClock();
      const store = await serve((_, response) => {
        if (!begins) return;
        response.writeHead(206, { 'content-length': '1000' });
        response.write('x');
      });
      const http = client({ clock, idleTimeoutMs: 5000 });
      const sending = http.send(get(store, [0, 1000]));
      const ended = (async () => {
        const response = await sending;
        const target = new Uint8Array(1000);
        for (let count = 1; count > 0;) count = (await response.fill?.(target)) ?? 0;
      })();
      const outcome = assert.rejects(ended, (error: unknown) => {
        assert.ok(isLitestreamError(error, 'ERR_STORAGE_TEMPORARY'), String(error));
        assert.match(error.message, begins ? /no bytes received for 5 s/ : /no answer for 5 s/);
        return true;
      });
      // Time goes on when the request, or the head of its answer, has arrived.
      if (begins) await sending;
      await waitFor(() => store.ranges.length > 0, { what: 'the request' });
      const state = { over: false };
      void outcome.finally(() => {
        state.over = true;
      });
      const silence = async (): Promise<boolean> => {
        await clock.advance(1000);
        return state.over;
      };
      await waitFor(silence, { what: 'the end of a silence' });
      await outcome;
    }
  });

  it('ends at once when it is aborted, and writes nothing any more', async () => {
    const held: http.ServerResponse[] = [];
    const store = await serve((_, response) => {
      response.writeHead(206, { 'content-length': '1000' });
      response.write('x');
      held.push(response);
    });
    for (const early of [true, false]) {
      const controller = new AbortController();
      const request = get(store, [0, 1000], { signal: controller.signal });
      if (early) controller.abort();
      const target = new Uint8Array(1000);
      const ended = (async () => {
        const response = await client().send(request);
        setImmediate(() => controller.abort());
        for (let count = 1; count > 0;) count = (await response.fill?.(target)) ?? 0;
      })();
      await assert.rejects(ended, (error: unknown) => isLitestreamError(error, 'ERR_ABORTED'));
      target.fill(0);
      for (const response of held) response.write('yyyy');
      await new Promise((resolve) => {
        setTimeout(resolve, 20);
      });
      assert.ok(target.every((byte) => byte === 0));
    }
  });
});

describe('the head of an answer is plain', () => {
  const head = (...lines: readonly string[]): string =>
    ['HTTP/1.1 206 Partial Content', ...lines].join('\r\n');

  it('with a length, and any other fields', () => {
    const plain = parsePlainHead(head('Content-Length: 12 ', 'X-A:b', 'x-a: c', 'Connection: x'));
    assert.deepEqual(plain, {
      headers: { 'content-length': '12', 'x-a': 'b, c', connection: 'x' },
      size: 12,
      kept: true,
    });
    const closing = parsePlainHead(head('content-length: 0', 'connection: keep-alive, Close'));
    assert.equal(closing?.kept, false);
  });

  it('but not if there is any doubt where the body ends', () => {
    for (const text of [
      head(),
      head('content-length: 1', 'content-length: 1'),
      head('content-length: 1', 'transfer-encoding: chunked'),
      head('content-length: -1'),
      head('content-length: 1, 1'),
      head('content-length: 0x1'),
      head('content-length : 1'),
      head('content-length: 1', ' folded: yes'),
      head('content-length: 1\nx: y'),
      head('content-length: 1', ': empty'),
      'HTTP/1.0 206 OK\r\ncontent-length: 1',
      'HTTP/1.1 200 OK\r\ncontent-length: 1',
      'HTTP/1.1 2066\r\ncontent-length: 1',
      'SSH-2.0-x',
    ]) {
      assert.equal(parsePlainHead(text), undefined, text);
    }
  });

  it('and a request holds nothing that could be two', () => {
    assert.equal(
      requestText('/a%20b', { host: 'h', range: 'bytes=0-1' }),
      'GET /a%20b HTTP/1.1\r\nhost: h\r\nrange: bytes=0-1\r\nconnection: keep-alive\r\n\r\n',
    );
    for (const path of ['', 'a', '/a b', '/a\r\nx: y', '/\u00e9']) {
      assert.equal(requestText(path, {}), undefined, path);
    }
    for (const value of ['a\r\nb: c', 'a\nb', '\u00e9', '\0']) {
      assert.equal(requestText('/', { x: value }), undefined);
    }
    assert.equal(requestText('/', { 'x y': 'z' }), undefined);
  });
});
