/**
 * From a commit to its durable copies, one commit at a time: `node bench/lag.bench.ts [commits]`.
 *
 * The store is an S3 server in this process. Limits of the same run: the system calls that a local file needs, and a PUT of as many bytes by the same
 * client. Too easily disturbed for the gate. Spec: performance 16, P15, P16.
 */
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setImmediate as turn, setTimeout as wait } from 'node:timers/promises';
import { toTxid } from '../src/formats/ltx/index.ts';
import { systemClock } from '../src/lib/clock.ts';
import { nodeFileSystem } from '../src/lib/file-system.ts';
import { restoreDatabase } from '../src/restore/index.ts';
import { bytesSource, openReplica, type ReplicaClient } from '../src/storage/index.ts';
import { noopLogger } from '../src/telemetry/index.ts';
import { FakeS3, s3Location } from '../test/support/fake-s3/index.ts';
import { makeDatabase } from './harness/databases.ts';
import { figure, isQuick, median } from './harness/figures.ts';
import { COMMAND, Daemon, until } from './harness/processes.ts';

const COMMITS = Number(process.argv[2] ?? (isQuick ? 20 : 100));
const PORTS = { clock: systemClock, fileSystem: nodeFileSystem, logger: noopLogger };
const folder = fs.mkdtempSync(join(tmpdir(), 'litestream-bench-'));
const path = (name: string): string => join(folder, name);
const LOCAL = path('.app.db-litestream/ltx/0');
const SETTLE_MS = 2500;
const releases: (() => unknown)[] = [];

function localFiles(): string[] {
  return fs.existsSync(LOCAL) ? fs.readdirSync(LOCAL).filter((name) => name.endsWith('.ltx')) : [];
}

/** Milliseconds to make a file of `size` bytes durable. */
function writeDurably(size: number): number {
  const bytes = new Uint8Array(size);
  const began = performance.now();
  const file = fs.openSync(path('limit.tmp'), 'w');
  fs.writeSync(file, bytes);
  fs.fsyncSync(file);
  fs.closeSync(file);
  fs.renameSync(path('limit.tmp'), path('limit'));
  const directory = fs.openSync(folder, 'r');
  fs.fsyncSync(directory);
  fs.closeSync(directory);
  return performance.now() - began;
}

/** Milliseconds to store the bytes of a local file under another number. */
async function put(client: ReplicaClient, bytes: Uint8Array, number: number): Promise<number> {
  const txid = toTxid(number);
  const began = performance.now();
  await client.write({ level: 0, minTxid: txid, maxTxid: txid }, bytesSource(bytes));
  return performance.now() - began;
}

/** What was replicated has to be the database. */
async function checkData(client: ReplicaClient): Promise<void> {
  await restoreDatabase({ ...PORTS, client, outputPath: path('restored.db'), target: {} });
  const rows = (name: string): string => {
    const db = new DatabaseSync(path(name), { readOnly: true });
    try {
      return JSON.stringify(db.prepare('SELECT count(*), max(id), max(noise) FROM item').get());
    } finally {
      db.close();
    }
  };
  if (rows('restored.db') !== rows('app.db')) throw new Error('the restore is wrong');
}

async function measure(store: FakeS3, other: ReplicaClient): Promise<void> {
  const stored = (): number =>
    store.where('PUT', /\/p\/.*\.ltx/).filter(({ status }) => status === 200).length;
  await until('a first sync', () => stored() > 0);
  await wait(SETTLE_MS);
  const db = new DatabaseSync(path('app.db'));
  const [local, acknowledged, files, puts]: [number[], number[], number[], number[]] = [
    [],
    [],
    [],
    [],
  ];
  for (let commit = 0; commit < COMMITS; commit++) {
    await wait(150 + ((commit * 37) % 100));
    const [known, there] = [new Set(localFiles()), stored()];
    db.exec("INSERT INTO item (body) VALUES ('y')");
    const began = performance.now();
    let name: string | undefined;
    // No timer: it would be most of what is measured. The store needs its turns.
    while (name === undefined || stored() === there) {
      if (name === undefined) {
        name = localFiles().find((file) => !known.has(file));
        if (name !== undefined) local.push(performance.now() - began);
      }
      if (performance.now() - began > 30_000) throw new Error('a commit was not replicated');
      await turn();
    }
    acknowledged.push(performance.now() - began);
    const bytes = fs.readFileSync(join(LOCAL, name));
    files.push(writeDurably(bytes.length));
    puts.push(await put(other, bytes, commit + 1));
  }
  db.close();
  const show = (values: readonly number[]): string => `${median(values).toFixed(1)} ms`;
  process.stdout.write(
    `p50: local ${show(local)}, acknowledged ${show(acknowledged)}; bare file ${show(files)}, bare PUT ${show(puts)}\n`,
  );
  figure('P15', median(local) / median(files));
  figure('P16', median(acknowledged) / (median(files) + median(puts)));
}

async function main(): Promise<void> {
  makeDatabase(path('app.db'), 0.1);
  const store = await FakeS3.start({ after: (release) => void releases.push(release) });
  const { accessKeyId, secretAccessKey } = store.rules.secrets;
  const location = { endpoint: store.endpoint, region: 'us-east-1', accessKeyId, secretAccessKey };
  const open = (name: string): Promise<ReplicaClient> =>
    openReplica(s3Location({ ...location, path: name, forcePathStyle: true }), PORTS);
  const config = {
    dbs: [
      {
        path: path('app.db'),
        replica: {
          url: `s3://${store.rules.bucket}/p`,
          endpoint: store.endpoint,
          region: location.region,
          'access-key-id': accessKeyId,
          'secret-access-key': secretAccessKey,
          'force-path-style': true,
        },
      },
    ],
  };
  // YAML reads JSON.
  fs.writeFileSync(path('litestream.yml'), JSON.stringify(config), { mode: 0o600 });
  const daemon = new Daemon(COMMAND, ['replicate', '-config', path('litestream.yml')]);
  const [own, other] = [await open('p'), await open('other')];
  try {
    await measure(store, other);
  } finally {
    await daemon.stop();
  }
  await checkData(own);
  for (const client of [own, other]) await client.close();
}

try {
  await main();
} finally {
  for (const release of releases) release();
  fs.rmSync(folder, { recursive: true });
}
