/** The same faults for every store: each is ridden out by itself, or is an error that names its cause and may be tried again. */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { type Clock, systemClock } from '../../src/lib/clock.ts';
import { LitestreamError } from '../../src/lib/errors.ts';
import { nodeFileSystem } from '../../src/lib/file-system.ts';
import {
  bytesSource,
  readAll,
  type ReplicaClient,
  type ReplicaLocation,
} from '../../src/storage/index.ts';
import { fileKey, listAll, ltxLike } from '../../src/testing/index.ts';
import { s3Location } from '../support/fake-s3/index.ts';
import { answers, first } from '../support/servers/index.ts';
import { natsLocation } from './nats-location.ts';
import {
  ossLocation,
  startAbs,
  startGs,
  startOss,
  startS3,
  startWebdav,
  type StartStore,
  type Store,
} from './stores.ts';
import { openReplica } from '../support/guarded.ts';
import { makeSecret, makeSecretKey } from '../support/secrets.ts';

/** Real waits are this much shorter, bounds of requests are not. */
const HASTE = 50;
const BOUND_MS_MIN = 25_000;
const NOWHERE = 'no-such-host.invalid';
const SECRET = makeSecret('password');
const KEY = fileKey(0, 1);
const BYTES = ltxLike(300_000);
/** A part of the name of every file in every layout. */
const FILE = /0000000000000001-0000000000000001\.ltx/;

interface Opened {
  readonly client: ReplicaClient;
  /** Milliseconds of the waits that were asked for. */
  readonly waits: number[];
}

async function open(
  t: TestContext,
  location: ReplicaLocation,
  environment: Store['environment'] = {},
): Promise<Opened> {
  const waits: number[] = [];
  const clock: Clock = {
    ...systemClock,
    timer: (ms, callback) => {
      if (ms >= BOUND_MS_MIN) return systemClock.timer(ms, callback);
      waits.push(ms);
      return systemClock.timer(ms / HASTE, callback);
    },
  };
  const client = await openReplica(location, { clock, fileSystem: nodeFileSystem, environment });
  t.after(() => client.close());
  return { client, waits };
}

function faultTests(name: string, start: StartStore): void {
  const run = (what: string, body: (store: Store, opened: Opened) => Promise<void>): void => {
    test(`${name}: ${what}`, async (t) => {
      const store = await start(t);
      if (store === undefined) return;
      await body(store, await open(t, store.location, store.environment));
    });
  };

  run(
    'BKD-06 a download that breaks off goes on, however it ends',
    async ({ proxy }, { client }) => {
      await client.write(KEY, bytesSource(BYTES));
      for (const how of ['reset', 'end'] as const) {
        const broken = first(2, { kind: 'cut', bytes: 100_000, how }, isDownload);
        proxy.fault = broken;
        assert.deepEqual(await readAll(client, { ...KEY, size: BYTES.length }), BYTES, how);
      }
      assert.ok(proxy.exchanges.filter(isDownload).length >= 6);
    },
  );

  run('BKD-23 an upload that breaks off is made again', async ({ proxy }, { client }) => {
    await client.write(fileKey(0, 2), bytesSource(BYTES));
    proxy.fault = first(2, { kind: 'cut-upload', bytes: 100_000 }, ({ method }) =>
      /P[UO]/.test(method),
    );
    await client.write(KEY, bytesSource(BYTES));
    proxy.fault = undefined;
    assert.deepEqual(await readAll(client, KEY), BYTES);
    assert.equal((await listAll(client, 0)).length, 2);
  });

  run('BKD-23 429 with Retry-After is waited for', async ({ proxy }, { client, waits }) => {
    await client.init();
    const busy = (): void => {
      waits.length = 0;
      proxy.fault = answers(2, 429, { headers: { 'retry-after': '3' } });
    };
    const operations = [
      () => client.write(KEY, bytesSource(BYTES)),
      () => listAll(client, 0),
      () => readAll(client, KEY),
      () => client.delete([KEY]),
    ];
    for (const [at, operation] of operations.entries()) {
      busy();
      await operation();
      const asked = waits.filter((ms) => ms >= 3000 && ms < BOUND_MS_MIN);
      assert.ok(asked.length >= 1, `operation ${at}: ${waits.join(' ')}`);
    }
    assert.deepEqual(await listAll(client, 0), []);
  });
}

function isDownload({ method, target }: { method: string; target: string }): boolean {
  return method === 'GET' && FILE.test(decodeURIComponent(target));
}

faultTests('s3', startS3);
faultTests('gs', startGs);
faultTests('abs', startAbs);
faultTests('oss', startOss);
faultTests('webdav', startWebdav);

/** Locations whose host nobody knows. */
const LOST: readonly (readonly [string, ReplicaLocation, Readonly<Record<string, string>>?])[] = [
  [
    's3',
    s3Location({
      endpoint: `http://${NOWHERE}:9000`,
      region: 'us-east-1',
      accessKeyId: 'key',
      secretAccessKey: SECRET,
    }),
  ],
  ['gs', { type: 'gs', bucket: 'box', path: 'p' }, { STORAGE_EMULATOR_HOST: `${NOWHERE}:4443` }],
  [
    'abs',
    {
      type: 'abs',
      bucket: 'box',
      path: 'p',
      endpoint: `http://${NOWHERE}/account`,
      accountName: 'account',
      accountKey: makeSecretKey('account key', 64),
      sasToken: '',
    },
  ],
  [
    'oss',
    ossLocation({
      bucket: 'box',
      region: 'cn-hangzhou',
      endpoint: `http://${NOWHERE}`,
      accessKeyId: 'key',
      accessKeySecret: SECRET,
    }),
  ],
  [
    'webdav',
    { type: 'webdav', url: `http://${NOWHERE}/dav`, username: 'u', password: SECRET, path: 'p' },
  ],
  ['nats', natsLocation(`nats://${NOWHERE}:4222`, 'box')],
  [
    'sftp',
    {
      type: 'sftp',
      host: `${NOWHERE}:22`,
      user: 'u',
      password: SECRET,
      keyPath: '',
      keyPassphrase: '',
      hostKey: '',
      path: '/p',
      concurrentWrites: true,
    },
  ],
];

for (const [name, location, environment] of LOST) {
  test(`${name}: a host that nobody knows is named, and may be known later`, async (t) => {
    const { client } = await open(t, location, environment);
    await assert.rejects(listAll(client, 0), (error) => {
      assert.ok(error instanceof LitestreamError);
      assert.equal(error.code, 'ERR_STORAGE_TEMPORARY', error.message);
      assert.equal(error.retryable, true);
      assert.match(error.message, /no-such-host\.invalid/);
      assert.match(error.message, /no such host|ENOTFOUND|EAI_AGAIN|temporary failure/);
      return true;
    });
  });
}
