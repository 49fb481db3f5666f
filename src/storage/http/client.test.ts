import assert from 'node:assert/strict';
import * as http from 'node:http';
import {
  type AddressInfo,
  createServer as createTcpServer,
  type Server,
  type Socket,
} from 'node:net';
import { afterEach, describe, it } from 'node:test';
import { reset } from '../../../test/support/servers/reset.ts';
import { systemClock } from '../../lib/clock.ts';
import { isLitestreamError, LitestreamError } from '../../lib/errors.ts';
import { HttpClient, type HttpRequest, type HttpResponse, type HttpTarget } from './index.ts';

type Handler = (request: http.IncomingMessage, response: http.ServerResponse) => void;

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

function client(options: Partial<ConstructorParameters<typeof HttpClient>[0]> = {}): HttpClient {
  const opened = new HttpClient({ clock: systemClock, ...options });
  closers.push(() => {
    opened.close();
  });
  return opened;
}

async function listen(server: Server): Promise<HttpTarget> {
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => {
      sockets.delete(socket);
    });
  });
  closers.push(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return { protocol: 'http:', host: '127.0.0.1', port: (server.address() as AddressInfo).port };
}

function serve(handler: Handler): Promise<HttpTarget> {
  return listen(http.createServer(handler));
}

/** Answers the first bytes of each connection with a raw text. */
function serveRaw(answer: (socket: Socket, count: number) => void): Promise<HttpTarget> {
  let count = 0;
  return listen(
    createTcpServer((socket) => {
      count++;
      const n = count;
      socket.once('data', () => {
        answer(socket, n);
      });
      socket.resume();
    }),
  );
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}

function get(target: HttpTarget, rest: Partial<HttpRequest> = {}): HttpRequest {
  return { method: 'GET', target, path: '/', headers: {}, ...rest };
}

async function bodyOf(request: http.IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

function bytes(size: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, at) => (at * 31 + (at >> 8)) & 255);
}

async function collect(response: HttpResponse): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of response.body) chunks.push(chunk);
  return Buffer.concat(chunks);
}

const temporary =
  (text: RegExp) =>
  (error: unknown): boolean => {
    assert.ok(isLitestreamError(error, 'ERR_STORAGE_TEMPORARY'), String(error));
    assert.match(error.message, text);
    assert.equal(error.retryable, true);
    assert.ok(error.hint !== undefined && error.hint.length > 0, 'a hint');
    return true;
  };

describe('HttpClient', () => {
  it('sends paths byte for byte', async () => {
    const seen: (string | undefined)[] = [];
    const target = await serve((request, response) => {
      seen.push(request.url);
      response.end();
    });
    const paths = ['/b/./0000/x', '/b//0000/', '/b/../y', '/b/%2e/%zz?a=b&c=%2F', '/b/a+b%20c'];
    for (const path of paths) await (await client().send(get(target, { path }))).discard();
    assert.deepEqual(seen, paths);
  });

  it('keeps connections, also after bodies that were discarded', async () => {
    const ports = new Set<number | undefined>();
    const target = await serve((request, response) => {
      ports.add(request.socket.remotePort);
      response.setHeader('content-length', 1000);
      response.end('x'.repeat(1000));
    });
    const http = client();
    for (let n = 0; n < 5; n++) {
      const response = await http.send(get(target));
      if (n % 2 === 0) await response.discard();
      else assert.equal((await response.text()).length, 1000);
    }
    for (const method of ['HEAD', 'PUT', 'DELETE']) {
      await (await http.send(get(target, { method }))).discard();
    }
    assert.equal(ports.size, 1);
  });

  it('gives long bodies up without reading them', async () => {
    const state = { closed: false };
    const target = await serve((_request, response) => {
      response.on('close', () => {
        state.closed = !response.writableFinished;
      });
      response.writeHead(200, { 'content-length': 1e9 });
      response.write('x');
    });
    await (await client().send(get(target))).discard();
    while (!state.closed) await pause(5);
    const second = await client().send(get(target));
    for await (const chunk of second.body) {
      assert.equal(chunk.length, 1);
      break;
    }
  });

  it('sends bodies of any size with their length, and reads them back', async () => {
    const encodings = new Set<string | undefined>();
    const target = await serve((request, response) => {
      encodings.add(request.headers['transfer-encoding']);
      encodings.add(request.headers.expect);
      void bodyOf(request).then((body) => {
        assert.equal(Number(request.headers['content-length']), body.length);
        response.end(body);
      });
    });
    const http = client();
    for (const size of [0, 1, 65_536, 65_537, 3_000_000]) {
      const all = bytes(size);
      const source = {
        size,
        async *stream() {
          await Promise.resolve();
          for (let at = 0; at < size; at += 100_000) yield all.subarray(at, at + 100_000);
        },
      };
      for (const body of [all, source]) {
        const response = await http.send(get(target, { method: 'PUT', body }));
        assert.ok(Buffer.from(all).equals(await collect(response)), `${size} bytes`);
      }
    }
    assert.deepEqual([...encodings], [undefined]);
  });

  it('adds host, user agent and an empty length, and joins repeated fields', async () => {
    let headers: http.IncomingHttpHeaders = {};
    const target = await serve((request, response) => {
      headers = request.headers;
      response.setHeader('WWW-Authenticate', ['Basic realm="a"', 'Digest realm="b"']);
      response.setHeader('X-One', 'Y');
      response.end();
    });
    const response = await client().send(get(target, { method: 'POST', headers: { 'X-A': 'b' } }));
    await response.discard();
    assert.equal(headers.host, `127.0.0.1:${target.port}`);
    assert.match(headers['user-agent'] ?? '', /^litestream-ts\//);
    assert.equal(headers['content-length'], '0');
    assert.equal(headers['x-a'], 'b');
    assert.equal(response.headers['www-authenticate'], 'Basic realm="a", Digest realm="b"');
    assert.equal(response.headers['x-one'], 'Y');
    await (await client().send(get(target, { headers: { Host: 'other' } }))).discard();
    assert.equal(headers.host, 'other');
  });

  it('holds the source back while the server does not read', async () => {
    let release = (): void => undefined;
    const target = await serve((request, response) => {
      request.pause();
      release = () => {
        void bodyOf(request).then((body) => {
          response.end(String(body.length));
        });
      };
    });
    const size = 64 * 1024 * 1024;
    let yielded = 0;
    const body = {
      size,
      async *stream() {
        await Promise.resolve();
        for (let at = 0; at < size; at += 1024 * 1024) {
          yielded += 1024 * 1024;
          yield new Uint8Array(1024 * 1024);
        }
      },
    };
    const sending = client().send(get(target, { method: 'PUT', body }));
    let before = -1;
    while (yielded === 0 || yielded !== before) {
      before = yielded;
      await pause(100);
    }
    assert.ok(yielded < size / 2, `${yielded} bytes taken`);
    release();
    assert.equal(await (await sending).text(), String(size));
  });

  it('passes the error of a source on and sends nothing complete', async () => {
    let complete: boolean | undefined;
    const target = await serve((request, response) => {
      request.on('error', () => undefined);
      request.on('close', () => {
        complete = request.complete;
        response.end();
      });
      request.resume();
    });
    const error = new Error('source failed');
    const body = (fails: boolean): HttpRequest['body'] => ({
      size: 500_000,
      async *stream() {
        await Promise.resolve();
        yield bytes(100_000);
        if (fails) throw error;
      },
    });
    await assert.rejects(client().send(get(target, { method: 'PUT', body: body(true) })), error);
    await assert.rejects(client().send(get(target, { method: 'PUT', body: body(false) })), {
      message: 'source has 100000 bytes, expected 500000',
    });
    assert.notEqual(complete, true);
  });

  it('hands out an answer that comes before the body has been sent', async () => {
    const target = await serve((_request, response) => {
      response.writeHead(403, { 'content-type': 'text/plain' });
      response.end('not you');
    });
    const body = {
      size: 1e9,
      async *stream(signal?: AbortSignal) {
        yield bytes(1000);
        await new Promise((_resolve, reject) => {
          signal?.addEventListener('abort', () => {
            reject(new Error('stopped'));
          });
        });
      },
    };
    const response = await client().send(get(target, { method: 'PUT', body }));
    assert.equal(response.status, 403);
    assert.equal(await response.text(), 'not you');
  });

  it('limits the length of texts', async () => {
    const target = await serve((_request, response) => {
      response.end('x'.repeat(2000));
    });
    const response = await client().send(get(target));
    await assert.rejects(response.text(1999), { code: 'ERR_STORAGE' });
    assert.equal((await (await client().send(get(target))).text(2000)).length, 2000);
  });
});

describe('HttpClient, broken connections', () => {
  it('takes a body that ends early for an error, never for its end (BKD-06)', async () => {
    const answers = [
      'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nhalf',
    ];
    for (const answer of answers) {
      for (const end of [(socket: Socket) => socket.end(), reset]) {
        const target = await serveRaw((socket) => {
          socket.write(answer, () => {
            setTimeout(() => {
              end(socket);
            }, 20);
          });
        });
        const response = await client().send(get(target));
        assert.equal(response.status, 200);
        const found: string[] = [];
        await assert.rejects(
          async () => {
            for await (const chunk of response.body) found.push(Buffer.from(chunk).toString());
          },
          temporary(/^127\.0\.0\.1:[0-9]+: /),
        );
        assert.ok(found.length <= 1);
      }
    }
  });

  it('reads a body without a length up to the end of the connection', async () => {
    const target = await serveRaw((socket) => {
      socket.end('HTTP/1.1 200 OK\r\n\r\nall of it');
    });
    assert.equal(await (await client().send(get(target))).text(), 'all of it');
  });

  it('names host and cause when there is no connection', async () => {
    const closed = await listen(createTcpServer());
    closers.splice(0).forEach((close) => {
      close();
    });
    await assert.rejects(
      client().send(get(closed)),
      temporary(/^connect to 127\.0\.0\.1:[0-9]+: connection refused$/),
    );
    const unknown: HttpTarget = { protocol: 'http:', host: 'no-such-host.invalid', port: 80 };
    await assert.rejects(
      client().send(get(unknown)),
      temporary(/^connect to no-such-host\.invalid:80: (?:no such host|temporary failure)/),
    );
  });

  it('names host and cause when the connection is reset or closed without an answer', async () => {
    for (const end of [(socket: Socket) => socket.end(), reset]) {
      const target = await serveRaw((socket) => {
        end(socket);
      });
      await assert.rejects(client().send(get(target)), temporary(/^127\.0\.0\.1:[0-9]+: /));
    }
  });

  it('says that it is no HTTP', async () => {
    const target = await serveRaw((socket) => {
      socket.end('SSH-2.0-OpenSSH_9.2p1\r\n');
    });
    await assert.rejects(client().send(get(target)), (error: unknown) => {
      assert.ok(error instanceof LitestreamError);
      assert.match(error.hint ?? '', /scheme/);
      return true;
    });
  });

  it('ends silence in every phase, naming the server (RST-01, NODE-11)', async () => {
    const idleTimeoutMs = 100;
    const silent = await serveRaw(() => undefined);
    await assert.rejects(
      client({ idleTimeoutMs }).send(get(silent)),
      temporary(/^127\.0\.0\.1:[0-9]+: no answer for 0\.1 s$/),
    );
    const half = await serve((_request, response) => {
      response.writeHead(200, { 'content-length': 100 });
      response.write('half');
    });
    const response = await client({ idleTimeoutMs }).send(get(half));
    await assert.rejects(response.text(), temporary(/no bytes received for 0\.1 s$/));
    const deaf = await listen(
      createTcpServer((socket) => {
        socket.pause();
      }),
    );
    const body = new Uint8Array(64 * 1024 * 1024);
    await assert.rejects(
      client({ idleTimeoutMs }).send(get(deaf, { method: 'PUT', body })),
      temporary(/no bytes taken for 0\.1 s$/),
    );
  });

  it('does not count the time in which its own side does nothing', async () => {
    const target = await serve((request, response) => {
      void bodyOf(request).then((body) => {
        response.end(body);
      });
    });
    const body = {
      size: 20,
      async *stream() {
        yield bytes(10);
        await pause(300);
        yield bytes(10);
      },
    };
    const http = client({ idleTimeoutMs: 100 });
    const response = await http.send(get(target, { method: 'PUT', body }));
    await pause(300);
    assert.equal((await collect(response)).length, 20);
  });

  it('replaces pooled connections that the server has closed, where repeating is safe', async () => {
    const answer = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
    const target = await listen(
      createTcpServer((socket) => {
        // The second request on any connection is answered with a reset.
        socket.once('data', () => {
          socket.write(answer);
          socket.once('data', () => {
            reset(socket);
          });
        });
      }),
    );
    const http = client();
    const send = async (rest: Partial<HttpRequest>): Promise<string> =>
      (await http.send(get(target, rest))).text();
    assert.equal(await send({}), 'ok');
    assert.equal(await send({}), 'ok');
    assert.equal(await send({ method: 'PUT', body: bytes(10) }), 'ok');
    await assert.rejects(send({ method: 'POST', body: bytes(10) }), temporary(/127/));
    assert.equal(await send({}), 'ok');
    const conditional = { method: 'PUT', headers: { 'If-None-Match': '*' }, body: bytes(10) };
    await assert.rejects(send(conditional), temporary(/127/));
  });
});

describe('HttpClient, abort', () => {
  it('ends every phase at once', async () => {
    const target = await serve((request, response) => {
      if (request.url === '/body') {
        response.writeHead(200, { 'content-length': 100 });
        response.write('half');
      }
      request.resume();
    });
    const aborted = { code: 'ERR_ABORTED' };
    await assert.rejects(client().send(get(target, { signal: AbortSignal.abort() })), aborted);
    await assert.rejects(client().send(get(target, { signal: AbortSignal.timeout(30) })), aborted);
    const stuck = {
      size: 100,
      async *stream() {
        yield bytes(10);
        await new Promise(() => undefined);
      },
    };
    const put = { method: 'PUT', body: stuck, signal: AbortSignal.timeout(30) };
    await assert.rejects(client().send(get(target, put)), aborted);
    const controller = new AbortController();
    const response = await client().send(get(target, { path: '/body', signal: controller.signal }));
    setTimeout(() => {
      controller.abort();
    }, 30);
    await assert.rejects(response.text(), aborted);
  });

  it('also ends the wait for a free connection and for one being opened', async () => {
    const target = await serve(() => undefined);
    const http = client({ maxSockets: 1 });
    const first = http.send(get(target, { signal: AbortSignal.timeout(300) }));
    const second = http.send(get(target, { signal: AbortSignal.timeout(30) }));
    await assert.rejects(second, { code: 'ERR_ABORTED' });
    await assert.rejects(first, { code: 'ERR_ABORTED' });
  });
});
