import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { noopLogger } from '../../telemetry/index.ts';
import { catalogue } from './catalogue.ts';
import { PrometheusMetrics } from './prometheus.ts';

function create(): PrometheusMetrics {
  return new PrometheusMetrics({
    logger: noopLogger,
    process: {
      startedAt: 1_700_000_000.5,
      nodeVersion: 'v24.0.0',
      monotonic: () => 0,
      cpuSeconds: () => 1.5,
      memory: () => ({ resident: 1000, heapTotal: 400, heapUsed: 300, external: 20 }),
    },
  });
}

/** Lines of the families whose name begins so. */
async function family(metrics: PrometheusMetrics, prefix: string): Promise<string[]> {
  const lines = (await metrics.scrape()).split('\n');
  return lines.filter((line) => line.replace(/^# (HELP|TYPE) /, '').startsWith(prefix));
}

describe('metrics for Prometheus', () => {
  it('export a family with help, type and series in order of their labels', async () => {
    const metrics = create();
    metrics.set('litestream_db_size', { db: '/b.db' }, 8192);
    metrics.set('litestream_db_size', { db: '/a.db' }, 4096);
    metrics.set('litestream_db_size', { db: '/b.db' }, 12_288);
    assert.deepEqual(await family(metrics, 'litestream_'), [
      '# HELP litestream_db_size The current size of the real DB',
      '# TYPE litestream_db_size gauge',
      'litestream_db_size{db="/a.db"} 4096',
      'litestream_db_size{db="/b.db"} 12288',
    ]);
  });

  it('OPS-10 export every metric of the catalogue once it has a value', async () => {
    const metrics = create();
    for (const [name, { labels, type }] of Object.entries(catalogue)) {
      const values = Object.fromEntries(labels.map((label) => [label, 'x']));
      const key = name as keyof typeof catalogue;
      if (type === 'counter') metrics.add(key, values, 0);
      else if (type === 'gauge') metrics.set(key, values, 0);
      else metrics.observe(key, values, 0);
    }
    const lines = await family(metrics, 'litestream_');
    for (const [name, { help, type }] of Object.entries(catalogue)) {
      assert.ok(lines.includes(`# HELP ${name} ${help}`), name);
      assert.ok(lines.includes(`# TYPE ${name} ${type}`), name);
      assert.ok(
        lines.some((line) => line.startsWith(`${name}{`) || line.startsWith(`${name}_sum{`)),
        name,
      );
    }
  });

  it('sort families by name and print nothing for a family without series', async () => {
    const metrics = create();
    metrics.add('litestream_sync_count', { db: '/a.db' }, 0);
    metrics.set('litestream_db_size', { db: '/a.db' }, 0);
    const text = await metrics.scrape();
    const names = [...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name = '']) => name);
    assert.deepEqual(names, names.toSorted());
    assert.ok(!text.includes('litestream_checkpoint_count'));
    assert.match(text, /^litestream_sync_count\{db="\/a.db"\} 0$/m);
    assert.ok(text.endsWith('\n') && !text.includes('\n\n'));
  });

  it('escape what would end a label', async () => {
    const metrics = create();
    metrics.set('litestream_txid', { db: '/a "b"\\c\n.db' }, 1);
    assert.deepEqual((await family(metrics, 'litestream_txid')).slice(-1), [
      'litestream_txid{db="/a \\"b\\"\\\\c\\n.db"} 1',
    ]);
  });

  it('keep series of odd paths apart', async () => {
    const metrics = create();
    for (const db of ['/a,db:x', '/a', '__proto__', 'constructor', '']) {
      metrics.add('litestream_sync_count', { db }, 1);
      metrics.add('litestream_sync_count', { db }, 1);
    }
    const lines = await family(metrics, 'litestream_sync_count{');
    assert.equal(lines.length, 5);
    assert.ok(lines.every((line) => line.endsWith(' 2')));
  });

  it('order a label list alphabetically and keep the buckets of a histogram cumulative', async () => {
    const metrics = create();
    const labels = { operation: 'PUT', replica_type: 's3' };
    metrics.add('litestream_replica_operation_errors_total', { code: '503', ...labels }, 1);
    metrics.observe('litestream_replica_operation_duration_seconds', labels, 0.04);
    metrics.observe('litestream_replica_operation_duration_seconds', labels, 4);
    assert.ok(
      (await family(metrics, 'litestream_replica_operation_errors')).includes(
        'litestream_replica_operation_errors_total{code="503",operation="PUT",replica_type="s3"} 1',
      ),
    );
    const lines = await family(metrics, 'litestream_replica_operation_duration_seconds_');
    const values = lines.map((line) => line.replace(/.*?(_bucket|_sum|_count)\{/, '$1{'));
    const shown = (le: string, count: number): string =>
      `_bucket{le="${le}",operation="PUT",replica_type="s3"} ${count}`;
    assert.deepEqual(values.toSorted(), [
      shown('+Inf', 2),
      shown('0.01', 0),
      shown('0.05', 1),
      shown('0.1', 1),
      shown('0.5', 1),
      shown('1', 1),
      shown('10', 2),
      shown('30', 2),
      shown('5', 2),
      shown('60', 2),
      '_count{operation="PUT",replica_type="s3"} 2',
      '_sum{operation="PUT",replica_type="s3"} 4.04',
    ]);
  });

  it('count finished scrapes and show the running one', async () => {
    const metrics = create();
    const first = await family(metrics, 'promhttp_');
    assert.ok(first.includes('promhttp_metric_handler_requests_in_flight 1'));
    assert.ok(first.includes('promhttp_metric_handler_requests_total{code="200"} 0'));
    assert.ok(first.includes('promhttp_metric_handler_requests_total{code="503"} 0'));
    metrics.answered(200);
    const second = await family(metrics, 'promhttp_');
    assert.ok(second.includes('promhttp_metric_handler_requests_total{code="200"} 1'));
  });

  it('tell about the process', async () => {
    const lines = (await create().scrape()).split('\n');
    assert.ok(lines.includes('process_cpu_seconds_total 1.5'));
    assert.ok(lines.includes('process_start_time_seconds 1700000000.5'));
    assert.ok(lines.includes('process_resident_memory_bytes 1000'));
    assert.ok(lines.includes('nodejs_heap_size_used_bytes 300'));
    assert.ok(lines.includes('nodejs_version_info{version="v24.0.0"} 1'));
    assert.ok(!lines.some((line) => line.startsWith('# HELP go_')));
    if (process.platform !== 'linux') return;
    for (const name of [
      'process_max_fds',
      'process_open_fds',
      'process_virtual_memory_bytes',
      'process_virtual_memory_max_bytes',
    ]) {
      const line = lines.find((text) => text.startsWith(`${name} `)) ?? '';
      assert.ok(Number(line.split(' ')[1]) > 0, name);
    }
  });

  it('never throw into the work that is measured', async () => {
    const metrics = create();
    metrics.add('litestream_sync_count', { db: '/a.db' }, -1);
    metrics.add('litestream_sync_count', { wrong: 'x' }, 1);
    metrics.set('litestream_txid', { db: '/a.db' }, Number.NaN);
    assert.ok((await metrics.scrape()).length > 0);
  });
});
