import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import * as http from 'node:http';
import * as https from 'node:https';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, describe, it } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { makeCertificates } from '../../../test/support/certificates.ts';
import { systemClock } from '../../lib/clock.ts';
import { LitestreamError } from '../../lib/errors.ts';
import { skipSuite } from '../../testing/index.ts';
import { HttpClient, type HttpTarget } from './index.ts';

const folder = mkdtempSync(join(tmpdir(), 'litestream-tls-'));
const certificates = await makeCertificates(folder);
after(() => {
  rmSync(folder, { recursive: true });
});

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

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
  });
  closers.push(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return (server.address() as AddressInfo).port;
}

interface ProxyLog {
  readonly lines: string[];
  readonly authorizations: (string | undefined)[];
}

/** Forwards everything to one port, whatever the host. */
async function proxy(toPort: number, log: ProxyLog, status = 200): Promise<number> {
  const server = http.createServer((request, response) => {
    log.lines.push(`${request.method} ${request.url}`);
    log.authorizations.push(request.headers['proxy-authorization']);
    assert.equal(request.headers.host, 'store.test');
    response.end('from proxy');
  });
  server.on('connect', (request, socket) => {
    log.lines.push(`${request.method} ${request.url}`);
    log.authorizations.push(request.headers['proxy-authorization']);
    if (status !== 200) {
      socket.end(`HTTP/1.1 ${status} No\r\nContent-Length: 0\r\n\r\n`);
      return;
    }
    const upstream = connect(toPort, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
      upstream.pipe(socket).pipe(upstream);
    });
    upstream.on('error', () => {
      socket.destroy();
    });
    socket.on('error', () => {
      upstream.destroy();
    });
  });
  return listen(server);
}

const emptyLog = (): ProxyLog => ({ lines: [], authorizations: [] });

async function getText(opened: HttpClient, target: HttpTarget, path = '/'): Promise<string> {
  return (await opened.send({ method: 'GET', target, path, headers: {} })).text();
}

describe('connections', () => {
  it('have a time limit of their own', async () => {
    const full = createServer();
    const port = await listen(full);
    const tlsTarget: HttpTarget = { protocol: 'https:', host: '127.0.0.1', port };
    await assert.rejects(getText(client({ connectTimeoutMs: 80 }), tlsTarget), {
      code: 'ERR_STORAGE_TEMPORARY',
      message: `127.0.0.1:${port}: no connection after 0.08 s`,
    });
  });

  it('through a proxy of the environment carry the path byte for byte', async () => {
    const log = emptyLog();
    const port = await proxy(0, log);
    const environment = { HTTP_PROXY: `http://user:secret@127.0.0.1:${port}` };
    const target: HttpTarget = { protocol: 'http:', host: 'store.test', port: 80 };
    assert.equal(await getText(client({ environment }), target, '/b/./0000//x'), 'from proxy');
    assert.deepEqual(log.lines, ['GET http://store.test/b/./0000//x']);
    assert.deepEqual(log.authorizations, ['Basic dXNlcjpzZWNyZXQ=']);
  });

  it('name a proxy that is down', async () => {
    const port = await listen(createServer());
    for (const close of closers.splice(0)) close();
    const url = `http://user:secret@127.0.0.1:${port}`;
    const environment = { HTTP_PROXY: url, HTTPS_PROXY: url };
    for (const protocol of ['http:', 'https:'] as const) {
      const target: HttpTarget = { protocol, host: 'store.test', port: 81 };
      await assert.rejects(getText(client({ environment }), target), {
        code: 'ERR_STORAGE_TEMPORARY',
        message: `connect to proxy 127.0.0.1:${port}: connection refused`,
      });
    }
  });

  it('name a proxy that refuses a tunnel', async () => {
    for (const status of [403, 502]) {
      const port = await proxy(0, emptyLog(), status);
      const environment = { HTTPS_PROXY: `http://127.0.0.1:${port}` };
      const target: HttpTarget = { protocol: 'https:', host: 'store.test', port: 443 };
      await assert.rejects(getText(client({ environment }), target), {
        code: status === 403 ? 'ERR_STORAGE' : 'ERR_STORAGE_TEMPORARY',
        message: `proxy 127.0.0.1:${port} refused a connection to store.test:443: ${status}`,
      });
    }
  });
});

if (certificates === undefined) {
  skipSuite('openssl', 'openssl: not installed');
} else {
  const { authority, serverCert, serverKey, clientCert, clientKey } = certificates;

  const serveTls = async (options: https.ServerOptions = {}): Promise<HttpTarget> => {
    const server = https.createServer(
      { cert: await readFile(serverCert), key: await readFile(serverKey), ...options },
      (request, response) => {
        const socket = request.socket as TLSSocket;
        response.end(`${request.url} ${socket.isSessionReused() ? 'resumed' : 'new'}`);
      },
    );
    return { protocol: 'https:', host: '127.0.0.1', port: await listen(server) };
  };

  describe('connections with TLS', () => {
    it('are refused if the certificate is not trusted, with a hint', async () => {
      const target = await serveTls();
      await assert.rejects(getText(client(), target), (error: unknown) => {
        assert.ok(error instanceof LitestreamError);
        assert.equal(error.code, 'ERR_STORAGE');
        assert.equal(error.retryable, false);
        assert.match(error.message, /^connect to 127\.0\.0\.1:[0-9]+: .*certificate/);
        assert.match(error.hint ?? '', /SSL_CERT_FILE/);
        return true;
      });
      assert.equal(await getText(client({ skipVerify: true }), target), '/ new');
    });

    it("trust the user's authority beside the known ones (BKD-19)", async () => {
      const target = await serveTls();
      const ca = await readFile(authority);
      assert.equal(await getText(client({ ca }), target), '/ new');
      assert.equal(await getText(client({ ca: ca.toString() }), target), '/ new');
      const environment = { SSL_CERT_FILE: authority };
      assert.equal(await getText(client({ environment }), target), '/ new');
      const missing = { SSL_CERT_FILE: join(folder, 'missing.pem') };
      await assert.rejects(getText(client({ environment: missing }), target), {
        code: 'ERR_CONFIG',
        message: /read SSL_CERT_FILE .*missing\.pem/,
      });
    });

    it('compare the name, also behind an address', async () => {
      const ca = await readFile(authority);
      const target = await serveTls();
      assert.equal(await getText(client({ ca }), { ...target, host: 'localhost' }), '/ new');
      const port = await proxy(target.port, emptyLog());
      const environment = { HTTPS_PROXY: `http://127.0.0.1:${port}` };
      await assert.rejects(
        getText(client({ ca, environment }), { ...target, host: 'other.test' }),
        (error: unknown) =>
          error instanceof LitestreamError && /certificate contains/.test(error.hint ?? ''),
      );
    });

    it('go through the tunnel of a proxy', async () => {
      const ca = await readFile(authority);
      const target = await serveTls({ SNICallback: undefined });
      const log = emptyLog();
      const port = await proxy(target.port, log);
      const environment = { HTTPS_PROXY: `http://user:secret@127.0.0.1:${port}` };
      const opened = client({ ca, environment, skipVerify: true });
      const store: HttpTarget = { protocol: 'https:', host: 'store.test', port: 443 };
      assert.equal(await getText(opened, store, '/b/./x'), '/b/./x new');
      assert.equal(await getText(opened, store), '/ new');
      assert.deepEqual(log.lines, ['CONNECT store.test:443'], 'one tunnel for two requests');
      assert.deepEqual(log.authorizations, ['Basic dXNlcjpzZWNyZXQ=']);
    });

    it('show the certificate of the client', async () => {
      const ca = await readFile(authority);
      const target = await serveTls({ ca, requestCert: true, rejectUnauthorized: true });
      const shown = { cert: await readFile(clientCert), key: await readFile(clientKey) };
      assert.equal(await getText(client({ ca, clientCert: shown }), target), '/ new');
      await assert.rejects(getText(client({ ca }), target));
    });

    it('resume their session when they are opened again', async () => {
      const ca = await readFile(authority);
      const target = await serveTls();
      const opened = client({ ca });
      const closing = { connection: 'close' };
      const ask = async (): Promise<string> =>
        (await opened.send({ method: 'GET', target, path: '/', headers: closing })).text();
      assert.equal(await ask(), '/ new');
      assert.equal(await ask(), '/ resumed');
    });

    it('say that the server speaks no TLS', async () => {
      const server = http.createServer((_request, response) => {
        response.end();
      });
      const port = await listen(server);
      const target: HttpTarget = { protocol: 'https:', host: '127.0.0.1', port };
      await assert.rejects(
        getText(client(), target),
        (error: unknown) => error instanceof LitestreamError && /scheme/.test(error.hint ?? ''),
      );
    });
  });
}
