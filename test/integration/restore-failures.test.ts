/** Rows of the failure catalogue about restoring, seen from outside. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test, type TestContext } from 'node:test';
import { command } from '../../src/cli/commands/restore.ts';
import type { Io, TextSink } from '../../src/cli/command.ts';
import { printError } from '../../src/cli/exit-codes.ts';
import { LtxFileWriter } from '../../src/codec/index.ts';
import { LTX_NO_CHECKSUM, toTxid } from '../../src/formats/ltx/index.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { nodeFileSystem } from '../../src/lib/file-system.ts';
import { isEmptyReplica, restoreDatabase } from '../../src/restore/index.ts';
import { noopLogger } from '../../src/telemetry/index.ts';
import { AppDatabase, contentOf } from '../support/app-database.ts';
import { s3Bench } from '../support/fake-s3/index.ts';
import { OURS, runBeside, runProgram, withNodeFlags } from '../support/program.ts';
import { tempDir } from '../support/temp-dir.ts';

interface Refusal {
  readonly status: number;
  readonly code: string;
  readonly message?: string;
}

/** A folder replica of three transactions. */
function replicaOf(t: TestContext): { folder: string; database: string; url: string } {
  const folder = tempDir(t);
  const database = join(folder, 'app.db');
  const url = `file://${folder}/replica`;
  const app = new AppDatabase(t, database, { rows: 10 });
  for (let n = 0; n < 3; n += 1) {
    app.insert(2);
    const { status, stderr } = runProgram(OURS, 'replicate', '-once', database, url);
    assert.equal(status, 0, stderr);
  }
  return { folder, database, url };
}

test('RST-02 a replica that cannot be listed is no empty replica', async (t) => {
  const { fake, open } = await s3Bench(t);
  const client = open({ endpoint: fake.endpoint });
  const faults: readonly (readonly [string, Refusal | 'reset'])[] = [
    ['ERR_STORAGE_DENIED', { status: 403, code: 'AccessDenied' }],
    ['ERR_STORAGE', { status: 404, code: 'NoSuchBucket' }],
    ['ERR_STORAGE_TEMPORARY', { status: 500, code: 'InternalError' }],
    ['ERR_STORAGE_TEMPORARY', 'reset'],
  ];
  for (const [code, fault] of faults) {
    fake.rules.fault = () => fault;
    await assert.rejects(isEmptyReplica(client), { code }, JSON.stringify(fault));
  }
  fake.rules.fault = undefined;
  assert.equal(await isEmptyReplica(client), true);
  fake.put('p/0000/0000000000000001-0000000000000001.ltx', Buffer.from('a file'));
  const listing = '<ListBucketResult><IsTruncated>true</IsTruncated>';
  const body = `${listing}<NextContinuationToken>x</NextContinuationToken></ListBucketResult>`;
  fake.rules.fault = ({ query }) =>
    query['continuation-token'] === undefined && query['list-type'] === '2'
      ? { status: 200, body }
      : undefined;
  assert.equal(await isEmptyReplica(client), false, 'an empty page is not the end of a listing');
});

test('RST-02 the program fails where it cannot list, with the words of the store', async (t) => {
  const { fake } = await s3Bench(t);
  const folder = tempDir(t);
  const out = join(folder, 'out.db');
  const { accessKeyId, secretAccessKey } = fake.rules.secrets;
  const env = { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey };
  const restore = (bucket: string): ReturnType<typeof runBeside> => {
    const url = `s3://${bucket}/p?endpoint=${fake.endpoint}&forcePathStyle=true`;
    return runBeside({ ...OURS, env }, 'restore', '-if-replica-exists', '-o', out, url);
  };
  fake.rules.fault = () => ({ status: 403, code: 'AccessDenied', message: 'not you' });
  const denied = await restore('testbucket');
  assert.equal(denied.status, 1);
  assert.match(denied.stderr, /^Error: .*AccessDenied.*not you/);
  fake.rules.fault = undefined;
  const absent = await restore('another');
  assert.equal(absent.status, 1);
  assert.match(absent.stderr, /^Error: .*NoSuchBucket/);
  const empty = await restore('testbucket');
  assert.equal(empty.status, 0, empty.stderr);
  assert.deepEqual(readdirSync(folder), []);
});

test('RST-04 the memory of a restore does not grow with the page index', async (t) => {
  const [pageSize, commit] = [512, 400_000];
  const folder = tempDir(t);
  const level = join(folder, 'replica/ltx/9');
  mkdirSync(level, { recursive: true });
  const name = '0000000000000001-0000000000000001.ltx';
  const file = await nodeFileSystem.open('test:create', join(level, name), 'create');
  const header = {
    flags: LTX_NO_CHECKSUM,
    pageSize,
    commit,
    minTxid: toTxid(1n),
    maxTxid: toTxid(1n),
    timestampMs: 1000,
    preApplyChecksum: 0n,
    walOffset: 0,
    walSize: 0,
    walSalt1: 0,
    walSalt2: 0,
    nodeId: 0n,
  };
  const sink = (bytes: Uint8Array, at: number): Promise<void> => file.write('test', bytes, at);
  const writer = new LtxFileWriter({ header, sink });
  for (let pgno = 1; pgno <= commit; pgno += writer.slots) {
    await writer.writeRun(pgno, Math.min(writer.slots, commit + 1 - pgno));
  }
  await writer.finish();
  await file.close();
  const out = join(folder, 'out.db');
  const url = `file://${folder}/replica`;
  // A map with an entry per page needs twice as much.
  const program = withNodeFlags('--max-old-space-size=20');
  const { status, stderr } = runProgram(program, 'restore', '-o', out, url);
  assert.equal(status, 0, stderr);
  assert.equal(statSync(out).size, pageSize * commit);
});

test('RST-09 a store that throttles and resets for a while is waited for', async (t) => {
  const { fake, open, waits } = await s3Bench(t);
  const client = open({ endpoint: fake.endpoint });
  const folder = tempDir(t);
  const database = join(folder, 'app.db');
  new AppDatabase(t, database, { rows: 100 });
  const { accessKeyId, secretAccessKey } = fake.rules.secrets;
  const env = { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey };
  const url = `s3://testbucket/p?endpoint=${fake.endpoint}&forcePathStyle=true`;
  const once = await runBeside({ ...OURS, env }, 'replicate', '-once', database, url);
  assert.equal(once.status, 0, once.stderr);
  const faults: readonly (Refusal | 'reset')[] = [
    { status: 408, code: 'RequestCanceled' },
    { status: 429, code: 'TooManyRequests' },
    { status: 503, code: 'SlowDown' },
    'reset',
  ];
  let reads = 0;
  fake.rules.fault = ({ method, key }) => {
    if (method !== 'GET' || key?.endsWith('.ltx') !== true) return undefined;
    reads += 1;
    return reads <= 16 ? faults[reads % faults.length] : undefined;
  };
  const outputPath = join(folder, 'out.db');
  const ports = { fileSystem: nodeFileSystem, clock: systemClock, logger: noopLogger };
  await restoreDatabase({ client, outputPath, target: {}, ...ports });
  assert.equal(contentOf(outputPath), contentOf(database));
  assert.ok(reads > 16);
  assert.ok(Math.max(...waits) >= 4 * Math.min(...waits), 'the waits grow');
});

/** What {@link command} needs; `stderr` is shown to a person if wanted. */
function ioOf(text: string[], terminal: boolean): Io {
  const sink: TextSink = { write: (part) => void text.push(part), terminal };
  const ports = { clock: systemClock, fileSystem: nodeFileSystem };
  return { stdout: sink, stderr: sink, environment: {}, ...ports };
}

test('RST-19 a time outside the backup is answered with the times that it has', async (t) => {
  const { folder, url } = replicaOf(t);
  const files = readdirSync(join(folder, 'replica/ltx/0')).toSorted();
  const times = files.map((name) => statSync(join(folder, 'replica/ltx/0', name)).mtime);
  const [oldest, newest] = [times[0], times.at(-1)].map((time) => time?.toISOString());
  const out = join(folder, 'out.db');
  const hint = `the oldest file of the replica is of ${oldest}, the newest of ${newest}`;
  for (const timestamp of ['2020-01-01T00:00:00Z', '2999-01-01T00:00:00+02:00']) {
    const io = ioOf([], false);
    const message = 'timestamp does not exist';
    await assert.rejects(command.run(['-timestamp', timestamp, '-o', out, url], io), {
      message,
      hint,
    });
  }
  // The same instant, said in three zones.
  const instant = (times.at(-1)?.getTime() ?? 0) - 1;
  for (const [hours, zone] of [
    [0, 'Z'],
    [5, '+05:00'],
    [-3, '-03:00'],
  ] as const) {
    const local = new Date(instant + hours * 3_600_000).toISOString().replace('Z', zone);
    const output = join(folder, `out${zone}.db`);
    await command.run(['-timestamp', local, '-o', output, url], ioOf([], false));
    using restored = new DatabaseSync(output, { readOnly: true });
    assert.equal(restored.prepare('SELECT count(*) AS n FROM t').get()?.['n'], 14, local);
  }
  for (const timestamp of ['2026-01-01 10:00', 'yesterday', '2026-01-01']) {
    const { status, stderr } = runProgram(OURS, 'restore', '-timestamp', timestamp, '-o', out, url);
    assert.equal(status, 1);
    assert.match(stderr, /ISO 8601 format \(e\.g\. 2000-01-01T00:00:00Z\)/);
  }
  assert.equal(existsSync(out), false);
});

test('RST-19 advice is for people: scripts get the one line that they know', async (t) => {
  const { folder, url } = replicaOf(t);
  const args = ['-timestamp', '2020-01-01T00:00:00Z', '-o', join(folder, 'out.db'), url];
  for (const terminal of [true, false]) {
    const text: string[] = [];
    const io = ioOf(text, terminal);
    await command.run(args, io).catch((error: unknown) => printError(error, io));
    assert.deepEqual(text[0], 'Error: timestamp does not exist\n');
    assert.equal(text.length, terminal ? 2 : 1);
    if (terminal) assert.match(text[1] ?? '', /^Hint: the oldest file .*Z\n$/);
  }
});

test('RST-21 a TXID that cannot be reached is an error, whatever may be missing', (t) => {
  const { folder, url } = replicaOf(t);
  const out = join(folder, 'out.db');
  const flags = ['-if-replica-exists', '-txid', '9', '-o', out];
  const missed = runProgram(OURS, 'restore', ...flags, url);
  assert.equal(missed.status, 1);
  assert.equal(missed.stderr, 'Error: no matching backup files available\n');
  assert.equal(existsSync(out), false);
  rmSync(join(folder, 'replica'), { recursive: true });
  const empty = runProgram(OURS, 'restore', ...flags, url);
  assert.equal(empty.status, 0, empty.stderr);
  assert.equal(existsSync(out), false);
});
