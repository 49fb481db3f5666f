import assert from 'node:assert/strict';
import { lstatSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { join, resolve } from 'node:path';
import { test, type TestContext } from 'node:test';
import { Store } from '../../engine/index.ts';
import { systemClock } from '../../lib/clock.ts';
import { LitestreamError } from '../../lib/errors.ts';
import { FaultyClient, MemoryClient } from '../../testing/index.ts';
import { AppDatabase } from '../../../test/support/app-database.ts';
import { ask, type ControlAnswer } from '../../../test/support/control.ts';
import { databaseOptions, type RecordingLogger, testPorts } from '../../../test/support/engine.ts';
import { tempDir } from '../../../test/support/temp-dir.ts';
import { waitFor } from '../../../test/support/wait.ts';
import { ControlServer } from './control-server.ts';

interface Bench {
  readonly folder: string;
  readonly socket: string;
  readonly store: Store;
  readonly logger: RecordingLogger;
  readonly server: ControlServer;
  readonly get: (path: string) => Promise<ControlAnswer>;
  readonly post: (
    path: string,
    body: string | Readonly<Record<string, unknown>>,
  ) => Promise<ControlAnswer>;
}

function createDatabase(path: string, url: string): ReturnType<typeof databaseOptions> {
  if (!url.startsWith('memory://')) {
    throw new LitestreamError('ERR_CONFIG', `unsupported replica URL scheme: "${url}"`);
  }
  return databaseOptions(path, [new MemoryClient({ path: url })], { monitorIntervalMs: 20 });
}

/** A server on a store without databases; neither is started. */
async function prepare(
  t: TestContext,
  { folder = tempDir(t), permissions = 0o600 } = {},
): Promise<Bench> {
  const ports = testPorts();
  const options = {
    databases: [],
    shutdownSyncTimeoutMs: 200,
    shutdownSyncIntervalMs: 50,
    levels: [],
    snapshotIntervalMs: 0,
    snapshotRetentionMs: 0,
    l0RetentionMs: 0,
    l0RetentionCheckIntervalMs: 0,
    retentionEnabled: false,
    verifyCompaction: false,
    monitors: true,
  };
  const store = new Store(options, ports);
  await store.open();
  const socket = join(folder, 'c.sock');
  const server = new ControlServer({
    path: socket,
    permissions,
    store,
    clock: systemClock,
    logger: ports.logger,
    random: Math.random,
    version: '1.2.3',
    pid: 4711,
    argv: ['litestream', 'replicate'],
    formatTime: (ms) => new Date(ms).toISOString(),
    normalizePath: (path) => resolve('/', path.replace(/^sqlite:\/\//, '')),
    createDatabase: async (path, url) => createDatabase(path, url),
  });
  t.after(async () => {
    await server.close();
    await store.close();
  });
  const { logger } = ports;
  return {
    folder,
    socket,
    store,
    logger,
    server,
    get: (path) => ask(socket, 'GET', path),
    post: (path, body) => ask(socket, 'POST', path, body),
  };
}

async function serve(t: TestContext): Promise<Bench> {
  const bench = await prepare(t);
  await bench.server.start();
  return bench;
}

/** A client that has sent some bytes; resolves when they are on their way. */
async function raw(t: TestContext, path: string, bytes: string): Promise<Socket> {
  const socket = connect(path);
  t.after(() => socket.destroy());
  socket.on('error', () => undefined);
  await new Promise<void>((done) => {
    socket.once('connect', () => void socket.write(bytes, () => done()));
  });
  return socket;
}

/** All that comes until the connection ends. */
function everything(socket: Socket): Promise<string> {
  return new Promise((done) => {
    let text = '';
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
    });
    socket.on('close', () => done(text));
  });
}

test('the socket has its mode, and is gone when the server has ended', async (t) => {
  const { server, socket, logger } = await prepare(t, { permissions: 0o660 });
  await server.start();
  assert.equal(lstatSync(socket).mode & 0o7777, 0o660);
  assert.ok(lstatSync(socket).isSocket());
  assert.deepEqual(logger.records.at(-1), {
    level: 'info',
    message: 'control socket listening',
    attributes: { system: 'server', path: socket },
  });
  await server.close();
  assert.throws(() => lstatSync(socket), { code: 'ENOENT' });
});

test('OPS-12 what is no socket stays, a missing folder and an empty path are errors', async (t) => {
  const { server, socket } = await prepare(t);
  writeFileSync(socket, 'precious');
  await assert.rejects(server.start(), {
    message: `socket path exists but is not a socket: ${socket}`,
  });
  await server.close();
  assert.equal(readFileSync(socket, 'utf8'), 'precious');
  const { server: lost, folder } = await prepare(t, { folder: join(tempDir(t), 'no') });
  await assert.rejects(lost.start(), {
    message: `listen on unix socket: listen unix ${folder}/c.sock: bind: no such file or directory`,
  });
});

test('OPS-12 a socket that nobody serves is replaced', async (t) => {
  const { server, socket, get, folder } = await prepare(t);
  const stale = createServer();
  await new Promise<void>((done) => void stale.listen(join(folder, 'made-as'), done));
  renameSync(join(folder, 'made-as'), socket);
  await new Promise<void>((done) => void stale.close(() => done()));
  assert.ok(lstatSync(socket).isSocket());
  await server.start();
  assert.equal((await get('/info')).status, 200);
});

test("OPS-12 a live socket is never stolen, and taken over when it is free; the old server does not remove the new one's", async (t) => {
  const old = await serve(t);
  const fresh = await prepare(t, { folder: old.folder });
  await fresh.server.start();
  assert.deepEqual(fresh.logger.messages('warn'), ['control socket in use by another process']);
  const before = lstatSync(old.socket).ino;
  assert.equal((await old.get('/info')).status, 200);
  assert.equal(lstatSync(old.socket).ino, before);
  await old.server.close();
  await waitFor(() => fresh.logger.messages('info').includes('control socket listening'), {
    what: 'the new server to take over',
  });
  assert.equal((await fresh.get('/info')).status, 200);
  assert.deepEqual(fresh.logger.messages('warn'), ['control socket in use by another process']);
});

test('a socket that was replaced by another program is left to it', async (t) => {
  const { server, socket } = await serve(t);
  renameSync(socket, `${socket}.moved`);
  const other = createServer();
  t.after(() => other.close());
  await new Promise<void>((done) => void other.listen(socket, done));
  await server.close();
  assert.ok(lstatSync(socket).isSocket());
});

test('it tells about itself in the documented order', async (t) => {
  const { get } = await serve(t);
  const { headers, text, json } = await get('/info');
  assert.equal(headers['content-type'], 'application/json');
  assert.match(
    text,
    /^\{"version":"1\.2\.3","pid":4711,"uptime_seconds":0,"started_at":"\d{4}-[^"]*","database_count":0\}\n$/,
  );
  assert.ok(json !== undefined);
  assert.equal((await get('/list')).text, '{"databases":[]}\n');
  assert.equal((await get('/status')).text, '[]\n');
});

test('methods and paths that do not exist are refused, HEAD works where GET does', async (t) => {
  const { socket } = await serve(t);
  for (const [method, path, status, allow] of [
    ['POST', '/info', 405, 'GET, HEAD'],
    ['GET', '/wait', 405, 'POST'],
    ['HEAD', '/sync', 405, 'POST'],
    ['GET', '/', 404, undefined],
    ['GET', '/list/', 404, undefined],
    ['PUT', '/nothing', 404, undefined],
  ] as const) {
    const answer = await ask(socket, method, path);
    assert.deepEqual(
      [answer.status, answer.headers['allow']],
      [status, allow],
      `${method} ${path}`,
    );
    assert.equal(answer.headers['content-type'], 'text/plain; charset=utf-8');
  }
  const head = await ask(socket, 'HEAD', '/list');
  assert.deepEqual([head.status, head.text], [200, '']);
  assert.equal(head.headers['content-length'], String('{"databases":[]}\n'.length));
});

test('requests that lack something say what, in the documented order of checks', async (t) => {
  const { post, get } = await serve(t);
  const said = async (path: string, body: string | Record<string, unknown>): Promise<unknown> => {
    const { status, json } = await post(path, body);
    return [status, json];
  };
  for (const path of ['/start', '/stop', '/register', '/unregister', '/sync', '/wait']) {
    const { status, json } = await post(path, '{"path":5}');
    assert.equal(status, 400);
    assert.match(JSON.stringify(json), /^\{"error":"invalid request body","details":"[^"]+"\}$/);
    assert.deepEqual(await said(path, '{}'), [400, { error: 'path required' }]);
  }
  assert.deepEqual(await said('/sync', { path: '', timeout: '5' }), [
    400,
    { error: 'invalid request body', details: 'field timeout: expected an integer, found string' },
  ]);
  assert.deepEqual(await said('/register', { path: '/a' }), [
    400,
    { error: 'replica_url required' },
  ]);
  assert.deepEqual(await said('/register', { path: '/a', replica_url: 'x' }), [
    400,
    { error: 'invalid replica url: unsupported replica URL scheme: "x"' },
  ]);
  assert.deepEqual(await said('/start', { path: '/a' }), [
    500,
    { error: 'database not found: /a' },
  ]);
  assert.deepEqual(await said('/stop', { path: '/a' }), [500, { error: 'database not found: /a' }]);
  assert.deepEqual(await said('/sync', { path: '/a' }), [404, { error: 'database not found: /a' }]);
  assert.deepEqual(await said('/wait', { path: '/a' }), [404, { error: 'database not found: /a' }]);
  assert.deepEqual(await said('/wait', { path: '/a', txid: -1 }), [
    400,
    {
      error: 'invalid request body',
      details: 'field txid: expected a number that is not negative',
    },
  ]);
  assert.deepEqual(await said('/unregister', { path: '/a' }), [
    200,
    { status: 'already_unregistered', path: '/a', txid: 0 },
  ]);
  assert.deepEqual((await get('/txid')).json, { error: 'path required' });
  assert.equal((await get('/txid?path=/a')).status, 404);
  assert.equal((await get('/debug/sync-status?path=/a')).status, 404);
});

test('a database goes through all its states', async (t) => {
  const { post, get, folder } = await serve(t);
  const path = join(folder, 'a.db');
  const app = new AppDatabase(t, path);
  const registered = await post('/register', { path, replica_url: 'memory://r' });
  assert.equal(registered.text, `{"status":"registered","path":"${path}"}\n`);
  const again = await post('/register', { path: `sqlite://${path}`, replica_url: 'memory://q' });
  assert.equal(again.text, `{"status":"already_registered","path":"${path}"}\n`);
  const synced = await post('/sync', { path, wait: true });
  assert.equal(synced.text, `{"status":"synced","path":"${path}","txid":1,"replicated_txid":1}\n`);
  assert.match((await post('/sync', { path })).text, /^\{"status":"no_change",/);
  app.insert();
  assert.match((await post('/sync', { path })).text, /^\{"status":"synced_local",/);
  app.insert();
  assert.match(
    (await post('/wait', { path })).text,
    /^\{"status":"durable","path":"[^"]*","txid":(\d+),"replicated_txid":\1\}\n$/,
  );
  const { txid } = (await get(`/txid?path=${path}`)).json as { txid: number };
  assert.ok(txid >= 2);
  const [listed] = ((await get('/list')).json as { databases: Record<string, unknown>[] })
    .databases;
  assert.deepEqual(Object.keys(listed ?? {}), ['path', 'status', 'last_sync_at']);
  assert.equal(
    (await post('/start', { path })).text,
    `{"status":"already_running","path":"${path}","txid":${txid}}\n`,
  );
  assert.equal(
    (await post('/stop', { path })).text,
    `{"status":"stopped","path":"${path}","txid":${txid}}\n`,
  );
  const refused = await post('/sync', { path });
  assert.deepEqual([refused.status, refused.json], [409, { error: `database not open: ${path}` }]);
  assert.match((await get('/list')).text, /"status":"stopped"\}\]\}\n$/);
  assert.match((await post('/start', { path })).text, /^\{"status":"started",/);
  assert.match((await post('/unregister', { path })).text, /^\{"status":"unregistered",/);
  assert.equal((await get('/list')).text, '{"databases":[]}\n');
});

test('OPS-20 a second registration of one file or one replica is a conflict', async (t) => {
  const { post, folder } = await serve(t);
  const path = join(folder, 'a.db');
  assert.ok(new AppDatabase(t, path).walBytes() > 0);
  await post('/register', { path, replica_url: 'memory://r' });
  const other = await post('/register', { path: join(folder, 'b.db'), replica_url: 'memory://r' });
  assert.equal(other.status, 409);
  assert.match(other.text, /failed to register database: .* share replica memory:\/\/r/);
  mkdirSync(join(folder, 'c.db'));
  const sub = await post('/register', { path: join(folder, 'c.db'), replica_url: 'memory://s' });
  assert.deepEqual(
    [sub.status, sub.json],
    [500, { error: `failed to register database: open db: open ${folder}/c.db: is a directory` }],
  );
});

test('OPS-22 time-outs are kept and reading answers while a store hangs', async (t) => {
  const { post, get, folder, store } = await serve(t);
  const path = join(folder, 'a.db');
  const app = new AppDatabase(t, path);
  const client = new FaultyClient(new MemoryClient());
  for (let n = 0; n < 20; n++) client.inject({ operation: 'list', kind: 'hang' });
  await store.register(databaseOptions(path, [client], { monitorIntervalMs: 20 }));
  app.insert();
  const sync = await post('/sync', { path, wait: true, timeout: 1 });
  assert.equal(sync.status, 500);
  assert.match(sync.text, /"sync database: .*context deadline exceeded"/);
  const wait = await post('/wait', { path, timeout: 1 });
  assert.equal(wait.status, 504);
  assert.match(wait.text, /"timeout waiting for replication: memory is at an unknown position/);
  for (const ask of ['/info', '/list', '/status', `/txid?path=${path}`, '/debug/sync-status']) {
    assert.equal((await get(ask)).status, 200, ask);
  }
  const stop = await post('/stop', { path, timeout: -1 });
  assert.deepEqual(
    [stop.status, stop.json],
    [500, { error: 'close database: context deadline exceeded' }],
  );
  assert.equal((await post('/sync', { path })).status, 409, 'it is stopped nevertheless');
});

test('bytes that are no HTTP, bodies that are too large and clients that go away cost nothing', async (t) => {
  const { socket, get, post } = await serve(t);
  const garbage = await raw(t, socket, '\x16\x03\x01 no HTTP at all\r\n\r\n');
  assert.match(await everything(garbage), /^(HTTP\/1\.1 400|$)/);
  const long = await raw(t, socket, `GET /${'x'.repeat(200_000)} HTTP/1.1\r\n\r\n`);
  assert.match(await everything(long), /^(HTTP\/1\.1 431|$)/);
  const large = await post('/sync', `{"path":"${'x'.repeat(2 << 20)}"}`);
  assert.deepEqual([large.status, large.json], [413, { error: 'request body too large' }]);
  const half = await raw(t, socket, 'POST /sync HTTP/1.1\r\nContent-Length: 100\r\n\r\n{');
  half.destroy();
  const old = await raw(t, socket, 'GET /info HTTP/1.0\r\n\r\n');
  assert.match(await everything(old), /^HTTP\/1\.1 200 OK/);
  const piped = await raw(
    t,
    socket,
    'GET /list HTTP/1.1\r\n\r\nGET /nothing HTTP/1.1\r\nConnection: close\r\n\r\n',
  );
  assert.match(await everything(piped), /200 OK[\s\S]*"databases"[\s\S]*404 Not Found/);
  assert.equal((await get('/info')).status, 200);
});

test('OPS-12 silent clients delay neither others nor the end', async (t) => {
  const { socket, get, server, logger } = await serve(t);
  const silent = [
    await raw(t, socket, ''),
    await raw(t, socket, 'GET /in'),
    await raw(t, socket, 'POST /sync HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{'),
  ];
  assert.equal((await get('/info')).status, 200);
  const ends = silent.map((client) => everything(client));
  await server.close();
  await Promise.all(ends);
  assert.deepEqual(logger.messages(), [], 'they are not given the time of running requests');
});

test('requests that run when the server ends are answered', async (t) => {
  const { post, server, folder } = await serve(t);
  const path = join(folder, 'missing.db');
  await post('/register', { path, replica_url: 'memory://r' });
  const app = new AppDatabase(t, path);
  app.insert();
  const waiting = post('/wait', { path, txid: 1000 });
  await waitFor(async () => (await post('/sync', { path })).status === 200, { what: 'a turn' });
  await server.close();
  const { status, json } = await waiting;
  assert.deepEqual([status, json], [500, { error: 'wait for database: context canceled' }]);
});
