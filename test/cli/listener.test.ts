import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request } from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { get } from '../support/http.ts';
import { waitFor } from '../support/wait.ts';
import { baseOf, breakReplica, insert, scene, scrape } from './daemon-scene.ts';

describe('the listener of a daemon', () => {
  it('answers during the last uploads and does not delay the end', async (t) => {
    const { application, folder, replicate } = scene(t);
    const database = application();
    const daemon = replicate(`
addr: 127.0.0.1:0
shutdown-sync-timeout: 3s
dbs:
  - path: ${folder}/app.db
    replica: {path: ${folder}/replica}
`);
    const base = await baseOf(daemon);
    const replicated = `litestream_replica_txid{db="${folder}/app.db"}`;
    await waitFor(async () => ((await scrape(base))[replicated] ?? 0) > 0, { what: replicated });
    const waiting = request(base, { agent: false });
    waiting.on('error', () => undefined);
    waiting.flushHeaders();
    breakReplica(join(folder, 'replica'));
    insert(database, 1);
    daemon.signal('SIGTERM');
    await daemon.line(/shutdown sync failed, retrying/);
    assert.equal((await get(`${base}/metrics`)).status, 200);
    await daemon.ended();
    assert.equal(daemon.status, 0);
    assert.match(daemon.log, /msg="litestream shut down"\n$/);
    assert.doesNotMatch(daemon.log, /not keeping up/);
  });

  it('a port that is taken is an error line, and one that is missing ends the program', async (t) => {
    const { replicate } = scene(t);
    const holder = createServer().listen(0, '127.0.0.1');
    await once(holder, 'listening');
    t.after(() => holder.close());
    const { port } = holder.address() as AddressInfo;
    const daemon = replicate(`addr: 127.0.0.1:${port}\n`);
    const line = await daemon.line(/cannot start metrics server/);
    assert.ok(line.includes(`listen tcp 127.0.0.1:${port}: bind: address already in use`), line);
    await daemon.stop();
    for (const address of ['localhost', '::1']) {
      const refused = replicate(`addr: "${address}"\n`);
      await refused.ended();
      assert.equal(refused.status, 1);
      assert.match(refused.log, /must specify port for bind address: "/);
    }
  });
});
