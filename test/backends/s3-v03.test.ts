import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { LEGACY_VERSION } from '../../tools/reference.ts';
import { AppDatabase, contentOf, integrityOf } from '../support/app-database.ts';
import { Daemon, OURS, runProgram } from '../support/program.ts';
import { needReference } from '../support/reference.ts';
import { startVersitygw } from '../support/servers/index.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait.ts';
import { allKeys } from './s3-objects.ts';

test('what Litestream v0.3 has written to S3 restores', async (t) => {
  const old = await needReference(t, LEGACY_VERSION);
  if (old === undefined) return;
  const server = await startVersitygw(t);
  if (server === undefined) return;
  const folder = tempDir(t);
  const app = new AppDatabase(t, join(folder, 'app.db'), { rows: 200 });
  const replica = `type: s3, bucket: ${server.bucket}, path: old/db, endpoint: "${server.endpoint}", region: ${server.region}, access-key-id: ${server.accessKeyId}, secret-access-key: ${server.secretAccessKey}`;
  const [oldConfig, config] = [join(folder, 'v03.yml'), join(folder, 'litestream.yml')];
  writeFileSync(
    oldConfig,
    `dbs: [{ path: ${app.path}, replicas: [{ ${replica}, force-path-style: true, sync-interval: 100ms }] }]\n`,
  );
  writeFileSync(config, `dbs: [{ path: ${app.path}, replica: { ${replica} } }]\n`);
  const daemon = new Daemon(t, old, 'replicate', '-config', oldConfig);
  const stored = async (): Promise<number> => (await allKeys(server, 'old/db/')).length;
  await waitFor(async () => (await stored()) > 0, { what: `a snapshot:\n${daemon.log}` });
  for (let n = 0; n < 3; n += 1) {
    const before = await stored();
    app.insert(20);
    await waitFor(async () => (await stored()) > before, { what: `a segment:\n${daemon.log}` });
  }
  await daemon.stop();
  const output = join(folder, 'out.db');
  const run = runProgram(OURS, 'restore', '-config', config, '-o', output, app.path);
  assert.equal(run.status, 0, run.stdout + run.stderr);
  assert.equal(integrityOf(output), 'ok');
  assert.equal(contentOf(output), contentOf(app.path));
});
