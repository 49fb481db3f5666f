import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { get } from '../support/http.ts';
import { waitFor } from '../support/wait.ts';
import { baseOf, breakReplica, insert, mendReplica, scene, scrape } from './daemon-scene.ts';

describe('the health of a daemon', () => {
  it('OPS-04 a file that is no database is counted, logged, and not healthy', async (t) => {
    const { folder, replicate } = scene(t);
    writeFileSync(join(folder, 'app.db'), 'this is no database'.repeat(500));
    const daemon = replicate(`
addr: 127.0.0.1:0
watchdog-threshold: 1s
dbs:
  - path: ${folder}/app.db
    replica: {path: ${folder}/replica}
`);
    const base = await baseOf(daemon);
    const errors = `litestream_sync_error_count{db="${folder}/app.db"}`;
    await waitFor(async () => ((await scrape(base))[errors] ?? 0) > 0, { what: errors });
    await daemon.line(/level=ERROR msg="sync error"/);
    await daemon.line(/level=ERROR msg="replica is not keeping up" system=store db=app.db /);
    const { status, text } = await get(`${base}/healthz`);
    assert.equal(status, 503);
    assert.match(text, /"status":"unhealthy"/);
    await daemon.stop();
  });

  it('OPS-04 says when a replica does not keep up, and when it does again', async (t) => {
    const { application, folder, replicate } = scene(t);
    const database = application();
    const daemon = replicate(`
addr: 127.0.0.1:0
watchdog-threshold: 1s
dbs:
  - path: ${folder}/app.db
    lag-alert: 500ms
    replica: {path: ${folder}/replica}
`);
    const base = await baseOf(daemon);
    const replicated = `litestream_replica_txid{db="${folder}/app.db"}`;
    await waitFor(async () => ((await scrape(base))[replicated] ?? 0) > 0, { what: replicated });
    assert.equal((await get(`${base}/healthz`)).status, 200);
    breakReplica(join(folder, 'replica'));
    insert(database, 1);
    await daemon.line(/level=WARN msg="replication lag exceeds threshold".* db=app.db lag=/);
    await daemon.line(/level=ERROR msg="replica is not keeping up".* threshold=1s error=/);
    assert.equal((await get(`${base}/healthz`)).status, 503);
    mendReplica(join(folder, 'replica'));
    await daemon.line(/level=INFO msg="replica is keeping up again".* db=app.db duration=/);
    await daemon.line(/level=INFO msg="replication lag recovered".* db=app.db duration=/);
    await daemon.line(/msg="stream resumed"/);
    assert.equal((await get(`${base}/healthz`)).status, 200);
    await daemon.stop();
  });

  it('a database that does not exist yet is starting, not unhealthy', async (t) => {
    const { folder, replicate } = scene(t);
    const daemon = replicate(`
addr: 127.0.0.1:0
watchdog-threshold: 1s
dbs:
  - path: ${folder}/later.db
    replica: {path: ${folder}/replica}
`);
    const base = await baseOf(daemon);
    const count = `litestream_sync_count{db="${folder}/later.db"}`;
    await waitFor(async () => ((await scrape(base))[count] ?? 0) > 3, { what: count });
    const { status, text } = await get(`${base}/healthz`);
    assert.equal(status, 200);
    assert.match(text, /"status":"starting","txid":0/);
    await daemon.stop();
  });
});
