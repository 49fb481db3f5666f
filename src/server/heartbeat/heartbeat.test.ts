import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { RecordingLogger } from '../../../test/support/engine.ts';
import type { DatabaseHealth, DatabaseObservation } from '../../engine/index.ts';
import { toTxid } from '../../formats/ltx/index.ts';
import { systemClock } from '../../lib/clock.ts';
import { FakeClock } from '../../testing/index.ts';
import { Heartbeat } from './heartbeat.ts';
import { ping } from './ping.ts';

const MINUTE_MS = 60_000;

describe('the heartbeat', () => {
  let clock: FakeClock;
  let logger: RecordingLogger;
  let databases: DatabaseObservation[];
  let status: DatabaseHealth['status'];
  let pings: number;
  let answer: () => Promise<number>;
  let heartbeat: Heartbeat;

  function database(own: Partial<DatabaseObservation> = {}): DatabaseObservation {
    return {
      path: '/srv/app.db',
      status: 'replicating',
      txid: toTxid(5n),
      replicatedTxid: toTxid(5n),
      lastSyncAt: clock.now(),
      monitorIntervalMs: 1000,
      openMs: 1000,
      uncapturedMs: 0,
      aheadMs: 0,
      pendingFiles: 0,
      consecutiveErrors: 0,
      error: undefined,
      replicas: [],
      ...own,
    };
  }

  beforeEach(() => {
    clock = new FakeClock();
    logger = new RecordingLogger();
    databases = [database()];
    status = 'ok';
    pings = 0;
    answer = () => Promise.resolve(204);
    heartbeat = new Heartbeat({
      url: 'https://user:secret@hc.example/x',
      shownUrl: 'https://hc.example/x',
      intervalMs: MINUTE_MS,
      clock,
      logger,
      observe: () => databases,
      health: () => [
        {
          path: '/srv/app.db',
          status,
          txid: toTxid(5n),
          replicatedTxid: toTxid(5n),
          lagMs: 0,
        },
      ],
      ping: (url) => {
        assert.equal(url, 'https://user:secret@hc.example/x');
        pings++;
        return answer();
      },
    });
    heartbeat.start();
  });
  afterEach(() => heartbeat.stop());

  it('is first sent after 15 s, and then once per interval', async () => {
    await clock.advance(14_999);
    assert.equal(pings, 0);
    await clock.advance(1);
    assert.equal(pings, 1);
    databases = [database({ lastSyncAt: clock.now() + MINUTE_MS })];
    await clock.advance(59_999);
    assert.equal(pings, 1);
    await clock.advance(1);
    assert.equal(pings, 2);
    assert.deepEqual(logger.messages('info', 'debug'), [
      'starting heartbeat monitor',
      'heartbeat ping sent',
      'heartbeat ping sent',
    ]);
    assert.ok(!JSON.stringify(logger.records).includes('secret'));
  });

  it('OPS-11 is withheld while one of three databases is not backed up', async () => {
    databases = [database(), database({ lastSyncAt: clock.now() - MINUTE_MS }), database()];
    await clock.advance(MINUTE_MS);
    assert.equal(pings, 0);
    const lastSyncAt = clock.now();
    databases = [database(), database({ lastSyncAt }), database({ lastSyncAt: undefined })];
    await clock.advance(15_000);
    assert.equal(pings, 0);
    databases = [database(), database(), database()];
    await clock.advance(15_000);
    assert.equal(pings, 1);
  });

  it('OPS-04 OPS-11 is withheld by the watchdog, and while commits are not captured', async () => {
    status = 'unhealthy';
    await clock.advance(15_000);
    status = 'ok';
    databases = [database({ aheadMs: MINUTE_MS + 1 })];
    await clock.advance(15_000);
    assert.equal(pings, 0);
    databases = [database()];
    await clock.advance(15_000);
    assert.equal(pings, 1);
  });

  it('does not count stopped databases, and needs one that is open', async () => {
    databases = [database({ status: 'stopped', lastSyncAt: undefined })];
    await clock.advance(15_000);
    assert.equal(pings, 0);
    databases = [];
    await clock.advance(15_000);
    assert.equal(pings, 0);
    databases = [database({ status: 'stopped', lastSyncAt: undefined }), database()];
    await clock.advance(15_000);
    assert.equal(pings, 1);
  });

  it('is not sent again at once when it was refused', async () => {
    answer = () => Promise.resolve(500);
    await clock.advance(15_000);
    assert.deepEqual(logger.records.at(-1), {
      level: 'error',
      message: 'heartbeat ping failed',
      attributes: { url: 'https://hc.example/x', error: 'unexpected status code: 500' },
    });
    databases = [database({ lastSyncAt: clock.now() + MINUTE_MS })];
    await clock.advance(59_999);
    assert.equal(pings, 1);
    answer = () => Promise.reject(new Error('http request: connection refused'));
    await clock.advance(1);
    assert.equal(pings, 2);
    assert.equal(logger.records.at(-1)?.attributes['error'], 'http request: connection refused');
  });

  it('is over when the program stops', async () => {
    heartbeat.stop();
    await clock.advance(MINUTE_MS);
    assert.equal(pings, 0);
    assert.equal(clock.pending, 0);
  });
});

describe('a ping', () => {
  const servers: Server[] = [];
  const seen: string[] = [];
  const options = {
    clock: systemClock,
    timeoutMs: 10_000,
    environment: {},
    userAgent: 'litestream/1.2.3',
  };

  async function serve(handle: RequestListener): Promise<string> {
    const server = createServer((request, response) => {
      seen.push(`${request.method} ${request.url} ${request.headers['user-agent']}`);
      handle(request, response);
    });
    servers.push(server.listen(0, '127.0.0.1'));
    await once(server, 'listening');
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  beforeEach(() => void (seen.length = 0));
  afterEach(() => {
    for (const server of servers.splice(0)) {
      server.close();
      server.closeAllConnections();
    }
  });

  it('is one GET, and its body is of no interest', async () => {
    const base = await serve((_request, response) => {
      response.write('endless');
    });
    assert.equal(await ping(`${base}/x?k=1`, options), 200);
    assert.deepEqual(seen, ['GET /x?k=1 litestream/1.2.3']);
  });

  it('follows redirects, ten at most', async () => {
    const base = await serve(({ url = '' }, response) => {
      const left = Number(url.slice(1));
      response.writeHead(left > 0 ? 302 : 204, left > 0 ? { location: `/${left - 1}` } : {}).end();
    });
    assert.equal(await ping(`${base}/10`, options), 204);
    await assert.rejects(ping(`${base}/11`, options), {
      message: 'http request: stopped after 10 redirects',
    });
  });

  it('names what went wrong', async () => {
    const base = await serve(() => undefined);
    await assert.rejects(ping(base, { ...options, timeoutMs: 50 }), {
      message: 'http request: context deadline exceeded',
    });
    servers[0]?.close();
    servers[0]?.closeAllConnections();
    await assert.rejects(ping(base, options), { message: 'http request: connection refused' });
  });

  it('goes through the proxy of the environment, except to this machine', async () => {
    const proxy = await serve((_request, response) => {
      response.writeHead(200).end();
    });
    const direct = await serve((_request, response) => {
      response.writeHead(204).end();
    });
    const environment = { HTTP_PROXY: proxy, http_proxy: proxy };
    assert.equal(await ping('http://hc.example.invalid/y', { ...options, environment }), 200);
    assert.deepEqual(seen, ['GET http://hc.example.invalid/y litestream/1.2.3']);
    assert.equal(await ping(`${direct}/z`, { ...options, environment }), 204);
    const excepted = { ...environment, NO_PROXY: 'hc.example.invalid' };
    await assert.rejects(
      ping('http://hc.example.invalid/y', { ...options, environment: excepted }),
      /^LitestreamError: http request: /,
    );
  });
});
