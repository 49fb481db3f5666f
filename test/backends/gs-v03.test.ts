import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { LEGACY_VERSION } from '../../tools/reference.ts';
import { AppDatabase, contentOf, integrityOf } from '../support/app-database.ts';
import { Daemon, OURS, runBeside } from '../support/program.ts';
import { needReference } from '../support/reference.ts';
import { startFakeGcsServer } from '../support/servers/index.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait.ts';

test('what Litestream v0.3 has written to Google Cloud Storage restores', async (t) => {
  const old = await needReference(t, LEGACY_VERSION);
  if (old === undefined) return;
  const server = await startFakeGcsServer(t);
  if (server === undefined) return;
  const env = { STORAGE_EMULATOR_HOST: server.emulatorHost };
  const folder = tempDir(t);
  const app = new AppDatabase(t, join(folder, 'app.db'), { rows: 200 });
  const config = join(folder, 'v03.yml');
  writeFileSync(
    config,
    `dbs:
  - path: ${app.path}
    replicas:
      - { type: gcs, bucket: ${server.bucket}, path: old/db, sync-interval: 100ms }
`,
  );
  const daemon = new Daemon(t, { ...old, env }, 'replicate', '-config', config);
  const uploads = (): number => server.proxy.where('POST', /\/o\?/).length;
  await waitFor(() => uploads() > 0, { what: `a snapshot:\n${daemon.log}` });
  for (let n = 0; n < 3; n += 1) {
    const before = uploads();
    app.insert(20);
    await waitFor(() => uploads() > before, { what: `a WAL segment:\n${daemon.log}` });
  }
  await daemon.stop();
  const output = join(folder, 'out.db');
  const url = `gs://${server.bucket}/old/db`;
  const run = await runBeside({ ...OURS, env }, 'restore', '-o', output, url);
  assert.equal(run.status, 0, run.stdout + run.stderr);
  assert.equal(integrityOf(output), 'ok');
  assert.equal(contentOf(output), contentOf(app.path));
});
