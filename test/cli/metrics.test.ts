import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { get } from '../support/http.ts';
import { waitFor } from '../support/wait.ts';
import { baseOf, breakReplica, insert, mendReplica, scene, scrape } from './daemon-scene.ts';

describe('the metrics of a daemon', () => {
  it('OPS-10 every series of a database moves when something happens to it', async (t) => {
    const { application, folder, replicate } = scene(t);
    const database = application();
    const daemon = replicate(`
addr: 127.0.0.1:0
levels: [{interval: 1s}]
l0-retention-check-interval: 1s
dbs:
  - path: ${folder}/app.db
    min-checkpoint-page-count: 10
    replica: {path: ${folder}/replica}
`);
    const base = await baseOf(daemon);
    const db = `{db="${folder}/app.db"}`;
    insert(database, 40);
    const wanted: Readonly<Record<string, (value: number) => boolean>> = {
      [`litestream_db_size${db}`]: (value) => value === statSync(`${folder}/app.db`).size,
      [`litestream_wal_size${db}`]: (value) => value > 32,
      [`litestream_total_wal_bytes${db}`]: (value) => value > 40 * 4096,
      [`litestream_txid${db}`]: (value) => value > 0,
      [`litestream_sync_count${db}`]: (value) => value > 2,
      [`litestream_sync_seconds${db}`]: (value) => value > 0,
      [`litestream_checkpoint_count{db="${folder}/app.db",mode="PASSIVE"}`]: (value) => value > 0,
      [`litestream_checkpoint_seconds{db="${folder}/app.db",mode="PASSIVE"}`]: (value) => value > 0,
      [`litestream_l0_retention_files_total{db="app.db",status="too_recent"}`]: (value) =>
        value > 0,
      [`litestream_replica_txid${db}`]: (value) => value > 0,
      'litestream_replica_operation_total{operation="PUT",replica_type="file"}': (n) => n > 2,
      'litestream_replica_operation_total{operation="LIST",replica_type="file"}': (n) => n > 2,
      'litestream_replica_operation_bytes{operation="PUT",replica_type="file"}': (n) => n > 4096,
    };
    for (const [series, holds] of Object.entries(wanted)) {
      await waitFor(async () => holds((await scrape(base))[series] ?? -1), { what: series });
    }
    const before = await scrape(base);
    assert.equal(before[`litestream_sync_error_count${db}`], 0);
    assert.equal(before[`litestream_disk_full${db}`], 0);
    assert.equal(before[`litestream_compaction_verify_error_count${db}`], 0);
    assert.match((await get(`${base}/`)).text, /level 1 [0-9a-f]{16} \d{4}-/);
    breakReplica(join(folder, 'replica'));
    insert(database, 1);
    const failed =
      'litestream_replica_operation_errors_total{code="ENOTDIR",operation="PUT",replica_type="file"}';
    await waitFor(async () => ((await scrape(base))[failed] ?? 0) > 0, { what: failed });
    await waitFor(
      async () => ((await scrape(base))[`litestream_replica_lag_seconds${db}`] ?? 0) > 0,
      {
        what: 'lag',
      },
    );
    mendReplica(join(folder, 'replica'));
    await waitFor(async () => (await scrape(base))[`litestream_replica_lag_seconds${db}`] === 0, {
      what: 'no lag',
    });
    await daemon.stop();
  });
});
