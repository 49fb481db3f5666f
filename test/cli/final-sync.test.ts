/** The end of a run whose store cannot be reached: how long it takes, and how much it says. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { Daemon, inFolder } from '../support/program.ts';
import { baseOf, breakReplica, insert, scene, scrape } from './daemon-scene.ts';
import { waitFor } from '../support/wait.ts';

/** How often a line stands in a log. */
function count(log: string, text: string): number {
  return log.split(text).length - 1;
}

test('mistake: no credentials end a single pass with one complaint and its remedy, without retries', async (t) => {
  const { application, folder } = scene(t);
  insert(application(), 1);
  const program = inFolder(folder, { AWS_EC2_METADATA_DISABLED: 'true' });
  const url = 's3://bucket/x?endpoint=http://127.0.0.1:1&region=us-east-1';
  const daemon = new Daemon(t, program, 'replicate', '-once', 'app.db', url);
  await daemon.ended();
  assert.equal(daemon.status, 1);
  assert.match(
    daemon.log,
    /level=ERROR msg="one-shot replication failed" hint="configure access-key-id and /,
  );
  assert.match(daemon.log, /^Error: sync replica for .*app\.db: s3: cannot load credentials: /m);
  assert.equal(count(daemon.log, 'shutdown sync failed, retrying'), 0, daemon.log);
});

test('OPS-06 retries at the end are told three times, then twice a minute', async (t) => {
  const { application, folder, replicate } = scene(t);
  const database = application();
  const daemon = replicate(`
addr: 127.0.0.1:0
shutdown-sync-timeout: 3s
shutdown-sync-interval: 100ms
dbs:
  - path: ${folder}/app.db
    replica: {path: ${folder}/replica}
`);
  const base = await baseOf(daemon);
  const replicated = `litestream_replica_txid{db="${folder}/app.db"}`;
  await waitFor(async () => ((await scrape(base))[replicated] ?? 0) > 0, { what: replicated });
  breakReplica(join(folder, 'replica'));
  insert(database, 1);
  await daemon.stop();
  assert.equal(count(daemon.log, 'shutdown sync failed, retrying'), 3, daemon.log);
  const [, attempts = ''] =
    /shutdown sync (?:failed after timeout" .*attempts=|timeout after )(\d+)/.exec(daemon.log) ??
    [];
  assert.ok(Number(attempts) > 3, `it tried ${attempts} times`);
});
