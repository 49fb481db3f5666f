import assert from 'node:assert/strict';
import { createServer as createHttpServer, request, type IncomingMessage } from 'node:http';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { test, type TestContext } from 'node:test';
import { answers, FaultProxy, first, Forwarder } from '../support/servers/index.ts';
import { waitFor } from '../support/wait.ts';

const BODY = 'x'.repeat(100_000);

async function listen(t: TestContext, server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  return (server.address() as AddressInfo).port;
}

/** A server that says what it was asked, in front of a long body. */
async function proxied(t: TestContext): Promise<FaultProxy> {
  const server = createHttpServer((asked, answer) => {
    void text(asked).then((body) => {
      answer.writeHead(200, { 'X-Asked': `${asked.method} ${asked.url} ${body.length}` }).end(BODY);
    });
  });
  return FaultProxy.start(t, await listen(t, server));
}

function ask(proxy: FaultProxy, path: string, body = '', method = 'PUT'): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    request({ port: proxy.port, host: '127.0.0.1', path, method, agent: false }, resolve)
      .once('error', reject)
      .end(body);
  });
}

test('the proxy passes requests on byte for byte and records them', async (t) => {
  const proxy = await proxied(t);
  const answer = await ask(proxy, '/./a//b?c=%2F', 'hello');
  assert.equal(answer.headers['x-asked'], 'PUT /./a//b?c=%2F 5');
  assert.equal(await text(answer), BODY);
  const [exchange] = proxy.where('PUT');
  assert.equal(exchange?.target, '/./a//b?c=%2F');
  assert.equal(exchange.body.toString(), 'hello');
  assert.equal(exchange.status, 200);
});

test('the proxy answers in place of the server so many times', async (t) => {
  const proxy = await proxied(t);
  proxy.fault = answers(2, 503, { headers: { 'Retry-After': '1' } });
  const got: (readonly [number | undefined, string | undefined])[] = [];
  for (let n = 0; n < 3; n += 1) {
    const answer = await ask(proxy, '/');
    got.push([answer.statusCode, answer.headers['retry-after']]);
    answer.resume();
  }
  assert.deepEqual(got, [
    [503, '1'],
    [503, '1'],
    [200, undefined],
  ]);
});

test('the proxy cuts bodies short, with a reset or as if they had ended', async (t) => {
  const proxy = await proxied(t);
  for (const how of ['reset', 'end'] as const) {
    proxy.fault = first(1, { kind: 'cut', bytes: 1000, how });
    const answer = await ask(proxy, '/');
    let size = 0;
    answer.on('data', (chunk: Buffer) => {
      size += chunk.length;
    });
    await assert.rejects(once(answer, 'end'), /aborted|reset/i);
    assert.ok(size <= 1000);
  }
});

test('the proxy loses requests, answers and parts of uploads', async (t) => {
  const proxy = await proxied(t);
  for (const fault of [
    { kind: 'refuse' },
    { kind: 'lose-answer' },
    { kind: 'cut-upload', bytes: 1000 },
  ] as const) {
    proxy.fault = first(1, fault);
    await assert.rejects(ask(proxy, '/', BODY), /reset|EPIPE|hang up/i);
  }
  assert.deepEqual(
    proxy.exchanges.map((exchange) => exchange.status),
    [0, 200, 0],
  );
});

test('the proxy keeps silent', async (t) => {
  const proxy = await proxied(t);
  proxy.fault = first(1, { kind: 'silence', bytes: 500 });
  const answer = await ask(proxy, '/');
  const [chunk] = (await once(answer, 'data')) as [Buffer];
  assert.equal(chunk.length, 500);
  assert.equal(answer.complete, false);
});

test('a request to a server that is down breaks like a connection', async (t) => {
  const proxy = await proxied(t);
  proxy.upstream = 1;
  await assert.rejects(ask(proxy, '/'), /reset|hang up/i);
});

async function echo(t: TestContext): Promise<Forwarder> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.pipe(socket);
  });
  return Forwarder.start(t, await listen(t, server));
}

async function client(t: TestContext, { port }: Forwarder): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  t.after(() => socket.destroy());
  await once(socket, 'connect');
  return socket;
}

test('the forwarder passes bytes, stalls, and passes them when it resumes', async (t) => {
  const forwarder = await echo(t);
  const socket = await client(t, forwarder);
  let got = '';
  socket.on('data', (chunk: Buffer) => {
    got += chunk.toString();
  });
  socket.write('one');
  await waitFor(() => got === 'one', { what: 'an echo' });
  forwarder.stall();
  socket.write('two');
  const late = await client(t, forwarder);
  let lateGot = '';
  late.on('data', (chunk: Buffer) => {
    lateGot += chunk.toString();
  });
  late.write('three');
  await waitFor(() => forwarder.connections === 2, { what: 'the second connection' });
  assert.deepEqual([got, lateGot], ['one', '']);
  forwarder.resume();
  await waitFor(() => got === 'onetwo' && lateGot === 'three', { what: 'what had been held' });
});

test('the forwarder cuts, at once or after some bytes, and refuses', async (t) => {
  const forwarder = await echo(t);
  const socket = await client(t, forwarder);
  await waitFor(() => forwarder.open === 1, { what: 'the connection' });
  forwarder.cut();
  await assert.rejects(once(socket, 'end'), /ECONNRESET/);

  const second = await client(t, forwarder);
  forwarder.cutAfter(10);
  second.write('0123456789abcdef');
  await assert.rejects(once(second, 'end'), /ECONNRESET/);

  await forwarder.refuse();
  await assert.rejects(client(t, forwarder), /ECONNREFUSED/);
  await forwarder.accept();
  await client(t, forwarder);
});
