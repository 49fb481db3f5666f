import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { catalogue } from './catalogue.ts';

interface Dashboard {
  readonly title: string;
  readonly uid: string;
  readonly panels: readonly {
    readonly title: string;
    readonly targets: readonly { readonly expr: string; readonly legendFormat: string }[];
  }[];
}

describe('the dashboard for Grafana', () => {
  const path = join(import.meta.dirname, '../../../etc/grafana-dashboard.json');
  const { panels, title, uid } = JSON.parse(readFileSync(path, 'utf8')) as Dashboard;

  it('has the name and the panels that installations know', () => {
    assert.deepEqual([title, uid], ['Litestream Monitoring', 'litestream-monitoring']);
    assert.deepEqual(
      panels.map((panel) => panel.title),
      [
        'Database & WAL Size',
        'Total WAL Bytes Written',
        'Sync Operations Rate',
        'Sync Error Rate',
        'Sync Duration',
        'Checkpoint Operations Rate',
        'Checkpoint Error Rate',
        'Current Transaction ID',
        'Replica Operations Rate',
        'Replica Throughput',
        'Replica Lag',
        'Unhealthy or Disk Full',
      ],
    );
  });

  it('OPS-10 asks for metrics and labels that exist, of one job', () => {
    const known = new Map(Object.entries(catalogue));
    for (const { targets, title: panel } of panels) {
      for (const { expr, legendFormat } of targets) {
        const [name = ''] = /litestream_\w+/.exec(expr) ?? [];
        const definition = known.get(name);
        assert.ok(definition !== undefined, `${panel}: ${expr}`);
        assert.ok(expr.includes('{job="$job"}'), expr);
        assert.equal(
          expr.startsWith('rate('),
          panel.includes('Rate') || /^Sync D|put$/.test(panel),
        );
        for (const [, label = ''] of legendFormat.matchAll(/\{\{(\w+)\}\}/g)) {
          assert.ok(definition.labels.includes(label), `${panel}: ${label}`);
        }
      }
    }
  });
});
