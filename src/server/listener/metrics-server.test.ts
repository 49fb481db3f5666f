import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http';
import { createServer, connect, type AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { gunzipSync } from 'node:zlib';
import type { DatabaseHealth } from '../../engine/index.ts';
import { toTxid } from '../../formats/ltx/index.ts';
import { noopLogger } from '../../telemetry/index.ts';
import { PrometheusMetrics } from '../metrics/prometheus.ts';
import { systemClock } from '../../lib/clock.ts';
import { Profiles } from '../profiles/handler.ts';
import type { DashboardRow } from './dashboard.ts';
import { MetricsServer } from './metrics-server.ts';

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  readonly text: string;
}

async function ask(
  url: string,
  method = 'GET',
  headers: Record<string, string> = {},
): Promise<Answer> {
  const sent = request(url, { method, headers, agent: false });
  sent.end(method === 'POST' ? 'x'.repeat(100_000) : undefined);
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  const body = Buffer.concat(chunks);
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    body,
    text: body.toString(),
  };
}

function healthOf(path: string, status: DatabaseHealth['status']): DatabaseHealth {
  return { path, status, txid: toTxid(12n), replicatedTxid: toTxid(11n), lagMs: 2500 };
}

describe('the metrics listener', () => {
  let server: MetricsServer;
  let base: string;
  let databases: DatabaseHealth[];
  let rows: DashboardRow[];
  let looks: number;

  function create(address: string): MetricsServer {
    const facts = { startedAt: 1, nodeVersion: 'v24', monotonic: () => 0, cpuSeconds: () => 1 };
    const memory = { resident: 1, heapTotal: 1, heapUsed: 1, external: 1 };
    return new MetricsServer({
      address,
      logger: noopLogger,
      metrics: new PrometheusMetrics({
        logger: noopLogger,
        process: { ...facts, memory: () => memory },
      }),
      health: () => {
        looks++;
        return databases;
      },
      dashboard: () => rows,
      version: '1.2.3',
      profiles: new Profiles({ clock: systemClock, argv: ['litestream'] }),
    });
  }

  beforeEach(async () => {
    databases = [];
    rows = [];
    looks = 0;
    server = create('127.0.0.1:0');
    base = (await server.start()).replace(/\/metrics$/, '');
  });
  afterEach(() => server.close());

  it('says where it really listens', () => {
    assert.match(base, /^http:\/\/127\.0\.0\.1:[1-9]\d*$/);
  });

  it('answers scrapes with any method, fresh, and counts them', async () => {
    const first = await ask(`${base}/metrics`);
    assert.equal(first.status, 200);
    assert.equal(first.headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8');
    assert.equal(first.headers['content-encoding'], undefined);
    assert.match(first.text, /^promhttp_metric_handler_requests_total\{code="200"\} 0$/m);
    assert.equal(looks, 1);
    for (const method of ['POST', 'PUT', 'DELETE']) {
      assert.equal((await ask(`${base}/metrics?x=1`, method)).status, 200);
    }
    assert.equal((await ask(`${base}/metrics`, 'HEAD')).body.length, 0);
    const last = await ask(`${base}/metrics`);
    assert.match(last.text, /^promhttp_metric_handler_requests_total\{code="200"\} 5$/m);
  });

  it('compresses for clients that take it', async () => {
    const accepting = await ask(`${base}/metrics`, 'GET', { 'accept-encoding': 'br, gzip;q=0.5' });
    assert.equal(accepting.headers['content-encoding'], 'gzip');
    assert.match(gunzipSync(accepting.body).toString(), /process_start_time_seconds 1/);
    for (const refusing of ['gzip;q=0', 'identity', 'xgzip', 'gzip; q=0.0']) {
      const plain = await ask(`${base}/metrics`, 'GET', { 'accept-encoding': refusing });
      assert.equal(plain.headers['content-encoding'], undefined, refusing);
    }
  });

  it('knows no other path', async () => {
    for (const path of [
      '/metrics/',
      '/nope',
      '//',
      '/healthz/',
      '/debug/pprof',
      '/debug/pprof/x',
    ]) {
      const answer = await ask(base + path);
      assert.equal(answer.status, 404, path);
      assert.equal(answer.text, '404 page not found\n');
      assert.equal(answer.headers['content-type'], 'text/plain; charset=utf-8');
    }
  });

  it('takes GET and HEAD alone where something is shown', async () => {
    for (const path of ['/', '/healthz']) {
      const refused = await ask(base + path, 'POST');
      assert.equal(refused.status, 405);
      assert.equal(refused.headers.allow, 'GET, HEAD');
      const head = await ask(base + path, 'HEAD');
      assert.equal(head.status, 200);
      assert.equal(head.body.length, 0);
    }
  });

  it('is healthy without databases', async () => {
    const answer = await ask(`${base}/healthz`);
    assert.equal(answer.status, 200);
    assert.deepEqual(JSON.parse(answer.text), { status: 'ok', databases: [] });
  });

  it('OPS-04 is unhealthy as soon as one database is, and not because one is stopped', async () => {
    databases = [healthOf('/a.db', 'ok'), healthOf('/b.db', 'stopped'), healthOf('/c', 'starting')];
    assert.equal((await ask(`${base}/healthz`)).status, 200);
    databases.push(healthOf('/d.db', 'unhealthy'));
    const answer = await ask(`${base}/healthz`);
    assert.equal(answer.status, 503);
    const found = JSON.parse(answer.text) as { status: string; databases: unknown[] };
    assert.equal(found.status, 'unhealthy');
    assert.deepEqual(found.databases[3], {
      path: '/d.db',
      status: 'unhealthy',
      txid: 12,
      replicated_txid: 11,
      lag_seconds: 2.5,
    });
  });

  it('shows people where each database stands, with nothing unescaped', async () => {
    rows = [
      {
        ...healthOf('/srv/<b>&"\'.db', 'ok'),
        replicas: [
          {
            name: 'main',
            type: 's3',
            txid: 11n,
            levels: [{ level: 9, txid: 5n, createdAt: '2026-01-02T03:04:05Z' }],
          },
          { name: 'file', type: 'file', txid: undefined, levels: [] },
        ],
      },
    ];
    const { headers, text } = await ask(`${base}/`);
    assert.equal(headers['content-type'], 'text/html; charset=utf-8');
    assert.ok(text.includes('/srv/&lt;b&gt;&amp;&quot;&#39;.db'));
    assert.ok(!text.includes('<b>'));
    assert.ok(text.includes('000000000000000c'));
    assert.ok(text.includes('main (s3): 000000000000000b'));
    assert.ok(text.includes('snapshot 0000000000000005 2026-01-02T03:04:05Z'));
    assert.ok(text.includes('file: not reached yet'));
  });

  it('says who cannot listen and why', async () => {
    const holder = createServer().listen(0, '127.0.0.1');
    await once(holder, 'listening');
    const { port } = holder.address() as AddressInfo;
    await assert.rejects(create(`127.0.0.1:${port}`).start(), {
      message: `listen tcp 127.0.0.1:${port}: bind: address already in use`,
    });
    holder.close();
    await assert.rejects(create('127.0.0.1:99999').start(), {
      message: 'listen tcp: address 99999: invalid port',
    });
  });

  it('listens on all interfaces and on IPv6', async () => {
    const everywhere = create(':0');
    const url = await everywhere.start();
    assert.match(url, /^http:\/\/localhost:\d+\/metrics$/);
    assert.equal((await ask(url.replace('localhost', '127.0.0.1'))).status, 200);
    everywhere.close();
    const six = create('[::1]:0');
    try {
      assert.equal((await ask(await six.start())).status, 200);
    } catch (error) {
      // A machine without IPv6.
      assert.match(String(error), /cannot assign requested address|EAFNOSUPPORT/);
    }
    six.close();
  });

  it('shows profiles to this machine alone', async () => {
    assert.equal((await ask(`${base}/debug/pprof/cmdline`)).text, 'litestream');
    const everywhere = create('0.0.0.0:0');
    const url = (await everywhere.start()).replace('0.0.0.0', '127.0.0.1');
    assert.equal((await ask(url.replace('/metrics', '/debug/pprof/cmdline'))).status, 404);
    everywhere.close();
  });

  it('is not held up by clients that say nothing, or take nothing', async () => {
    const { port } = new URL(base);
    const silent = connect(Number(port), '127.0.0.1');
    await once(silent, 'connect');
    const half = connect(Number(port), '127.0.0.1');
    half.write('GET /metrics HTTP/1.1\r\nHost: x\r\n');
    const deaf = connect(Number(port), '127.0.0.1');
    deaf.pause();
    for (let i = 0; i < 200; i++) deaf.write('GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n');
    await once(deaf, 'connect');
    assert.equal((await ask(`${base}/metrics`)).status, 200);
    const closed = [silent, half, deaf].map((socket) => {
      socket.on('error', () => undefined);
      return once(socket.resume(), 'close');
    });
    server.close();
    await Promise.all(closed);
  });

  it('survives what is no HTTP', async () => {
    const odd = connect(Number(new URL(base).port), '127.0.0.1');
    odd.on('error', () => undefined);
    odd.write('\0\u0001\u0002 nonsense\r\n\r\n');
    await once(odd.resume(), 'close');
    assert.equal((await ask(`${base}/metrics`)).status, 200);
  });
});
