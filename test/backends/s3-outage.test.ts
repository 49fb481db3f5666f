/** What the command says and does when a store answers, and refuses. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { existsSync, writeFileSync } from 'node:fs';
import { AppDatabase, contentOf } from '../support/app-database.ts';
import { FakeS3 } from '../support/fake-s3/index.ts';
import { Daemon, OURS } from '../support/program.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait.ts';

interface Site {
  readonly fake: FakeS3;
  readonly config: string;
  readonly path: string;
  readonly output: string;
}

async function site(t: TestContext): Promise<Site> {
  const fake = await FakeS3.start(t);
  const folder = tempDir(t);
  const [config, path] = [join(folder, 'litestream.yml'), join(folder, 'app.db')];
  const { accessKeyId, secretAccessKey } = fake.rules.secrets;
  writeFileSync(
    config,
    `dbs:
  - path: ${path}
    monitor-interval: 50ms
    replica:
      type: s3
      bucket: testbucket
      path: db
      endpoint: ${fake.endpoint}
      access-key-id: ${accessKeyId}
      secret-access-key: ${secretAccessKey}
      sync-interval: 100ms
`,
  );
  return { fake, config, path, output: join(folder, 'out.db') };
}

test('BKD-23 a restore from a store that refuses for ever ends, and names the status', async (t) => {
  const { fake, config, path, output } = await site(t);
  fake.rules.fault = () => ({ status: 503, code: 'SlowDown', message: 'please wait' });
  // In a process of its own: this one has to answer meanwhile.
  const run = new Daemon(t, OURS, 'restore', '-config', config, '-o', output, path);
  const began = performance.now();
  await run.ended(120_000);
  t.diagnostic(`ended after ${Math.round((performance.now() - began) / 1000)} s`);
  assert.equal(run.status, 1, run.log);
  assert.match(run.log, /list objects page: gave up after .*503/);
  assert.doesNotMatch(run.log, /v0\.3|secret\/key/);
  assert.equal(existsSync(output), false);
});

test('BKD-05 BKD-23 a burst of refusals costs a daemon nothing but time', async (t) => {
  const { fake, config, path, output } = await site(t);
  const app = new AppDatabase(t, path, { rows: 40 });
  const daemon = new Daemon(t, OURS, 'replicate', '-config', config);
  const files = (): number =>
    [...fake.objects.keys()].filter((key) => key.includes('/0000/')).length;
  await waitFor(() => files() > 0, { what: 'the first file' });
  let refused = 0;
  const until = performance.now() + 1500;
  fake.rules.fault = () => {
    if (performance.now() > until) return undefined;
    refused++;
    return refused % 3 === 0 ? 'reset' : { status: refused % 2 === 0 ? 503 : 429 };
  };
  for (let n = 0; n < 4; n++) {
    app.insert(10);
    await new Promise((resolve) => {
      setTimeout(resolve, 300);
    });
  }
  app.insert(10);
  await waitFor(() => performance.now() > until && refused > 0, { what: 'the end of the burst' });
  daemon.assertRunning();
  await daemon.stop();
  assert.ok(refused >= 2, `${refused} refused`);
  fake.rules.fault = undefined;
  const run = new Daemon(t, OURS, 'restore', '-config', config, '-o', output, path);
  await run.ended(60_000);
  assert.equal(run.status, 0, run.log);
  assert.equal(contentOf(output), contentOf(path));
});

test('BKD-13 an idle database asks its store nothing', async (t) => {
  const { fake, config, path } = await site(t);
  const app = new AppDatabase(t, path, { rows: 40 });
  const daemon = new Daemon(t, OURS, 'replicate', '-config', config);
  await waitFor(() => fake.objects.size > 0, { what: 'the first file' });
  app.insert(10);
  // Compactions fall on the boundaries of their intervals; between them there is silence.
  await waitFor(
    async () => {
      const before = fake.requests.length;
      await new Promise((resolve) => {
        setTimeout(resolve, 3000);
      });
      return fake.requests.length === before;
    },
    { what: 'three seconds without a request', timeoutMs: 60_000 },
  );
  daemon.assertRunning();
  assert.ok(fake.connections <= 12, `${fake.connections} connections`);
  await daemon.stop();
});
