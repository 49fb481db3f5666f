import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { waitFor } from '../support/wait.ts';
import { baseOf, insert, scene, scrape } from './daemon-scene.ts';

describe('the log of a daemon', () => {
  it('OPS-13 an upload is no line at the default level', async (t) => {
    const { application, folder, replicate } = scene(t);
    const database = application();
    const daemon = replicate(`
addr: 127.0.0.1:0
dbs:
  - path: ${folder}/app.db
    replica: {path: ${folder}/replica, sync-interval: 10ms}
`);
    const base = await baseOf(daemon);
    const replicated = `litestream_replica_txid{db="${folder}/app.db"}`;
    for (let txid = 1; txid <= 20; txid++) {
      insert(database, 1);
      await waitFor(async () => ((await scrape(base))[replicated] ?? 0) >= txid, {
        what: replicated,
      });
    }
    await daemon.stop();
    const messages = Array.from(daemon.log.matchAll(/ msg=("[^"]*"|\S+)/g), ([, text = '']) =>
      text.replaceAll('"', ''),
    );
    const unexpected = messages.filter(
      (text) =>
        !/^(litestream|starting |initialized db|replicating to|serving |signal |compaction complete|snapshot complete|l0 retention)/.test(
          text,
        ),
    );
    assert.deepEqual(unexpected, []);
    assert.ok(messages.length < 25, daemon.log);
  });
});
