/** What a restore asks of a store, counted where it arrives. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { command } from '../../src/cli/commands/restore.ts';
import type { Io } from '../../src/cli/command.ts';
import {
  encodeLtxFile,
  formatFileName,
  LTX_NO_CHECKSUM,
  toTxid,
} from '../../src/formats/ltx/index.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { nodeFileSystem } from '../../src/lib/file-system.ts';
import { restoreDatabase } from '../../src/restore/index.ts';
import { type FakeS3, s3Bench } from '../support/fake-s3/index.ts';
import { tempDir } from '../support/temp-dir.ts';
import { checkedLogger } from '../support/guarded.ts';

const PAGE_SIZE = 512;
const START_MS = Date.UTC(2026, 0, 1);
const LATENCY_MS = 50;

/** The only page of the database after a transaction. */
function pageAt(txid: number): Uint8Array {
  const page = new Uint8Array(PAGE_SIZE);
  new DataView(page.buffer).setUint32(24, txid);
  return page;
}

/** A file whose object says when it was made; the upload is of today. */
function put(
  fake: FakeS3,
  [level, min, max]: readonly [level: number, min: number, max: number],
  ms: number,
): void {
  const header = {
    flags: LTX_NO_CHECKSUM,
    pageSize: PAGE_SIZE,
    commit: 1,
    minTxid: toTxid(min),
    maxTxid: toTxid(max),
    timestampMs: ms,
    preApplyChecksum: 0n,
    walOffset: 0,
    walSize: 0,
    walSalt1: 0,
    walSalt2: 0,
    nodeId: 0n,
  };
  const bytes = encodeLtxFile({ header, pages: [{ pgno: 1, data: pageAt(max) }] });
  const name = formatFileName(header.minTxid, header.maxTxid);
  fake.put(`p/${String(level).padStart(4, '0')}/${name}`, bytes, {
    'x-amz-meta-litestream-timestamp': new Date(ms).toISOString(),
  });
}

/** Transactions 1 … n, a second apart, each in a file of its own. */
function putHistory(fake: FakeS3, transactions: number): void {
  put(fake, [9, 1, 1], START_MS);
  for (let txid = 1; txid <= transactions; txid += 1) put(fake, [0, txid, txid], timeOf(txid));
}

function timeOf(txid: number): number {
  return START_MS + txid * 1000;
}

interface Requests {
  readonly lists: number;
  readonly heads: number;
  readonly gets: number;
}

function countOf(fake: FakeS3): Requests {
  const lists = fake.where('GET', /list-type=2/).length;
  return {
    lists,
    heads: fake.where('HEAD').length,
    gets: fake.where('GET').length - lists,
  };
}

/** Runs `restore` with a URL of the store. */
async function restore(t: TestContext, fake: FakeS3, ...flags: string[]): Promise<string> {
  const out = join(tempDir(t), 'out.db');
  const { accessKeyId, secretAccessKey } = fake.rules.secrets;
  const sink = { write: () => undefined, terminal: false };
  const io: Io = {
    stdout: sink,
    stderr: sink,
    environment: { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey },
    clock: systemClock,
    fileSystem: nodeFileSystem,
  };
  const url = `s3://testbucket/p?endpoint=${fake.endpoint}&forcePathStyle=true`;
  fake.requests.length = 0;
  assert.equal(await command.run([...flags, '-o', out, url], io), 0);
  return out;
}

async function stateOf(path: string): Promise<number> {
  const file = await nodeFileSystem.open('test:open', path, 'read');
  try {
    const page = new Uint8Array(PAGE_SIZE);
    await file.read('test:read', page, 0);
    return new DataView(page.buffer).getUint32(24);
  } finally {
    await file.close();
  }
}

test('RST-13 RST-26 a restore lists each level once and reads each planned file once', async (t) => {
  const { fake } = await s3Bench(t);
  putHistory(fake, 8);
  assert.equal(await stateOf(await restore(t, fake)), 8);
  // Ten levels, and the data of v0.3.x.
  assert.deepEqual(countOf(fake), { lists: 11, heads: 0, gets: 8 });
  const levels = fake.where('GET', /list-type=2/).map(({ query }) => query['prefix']);
  assert.equal(new Set(levels).size, levels.length, levels.join(' '));

  assert.equal(await stateOf(await restore(t, fake, '-txid', '5')), 5);
  assert.deepEqual(countOf(fake), { lists: 10, heads: 0, gets: 6 }, 'and the age of the snapshot');

  const time = new Date(timeOf(5) + 1).toISOString();
  assert.equal(await stateOf(await restore(t, fake, '-timestamp', time)), 5);
  const { lists, heads } = countOf(fake);
  assert.equal(lists, 11);
  assert.ok(heads <= 9, `${heads} of 9 files`);

  await restore(t, fake, '-timestamp', time, '-dry-run');
  assert.equal(countOf(fake).lists, 10);
});

test('RST-13 a restore to a time asks for the times of few files, many at once', async (t) => {
  const { fake } = await s3Bench(t);
  putHistory(fake, 5000);
  fake.rules.fault = () =>
    new Promise((resolve) => void setTimeout(() => resolve(undefined), LATENCY_MS));
  const time = new Date(timeOf(200) + 500).toISOString();
  assert.equal(await stateOf(await restore(t, fake, '-timestamp', time)), 200);
  const { lists, heads, gets } = countOf(fake);
  assert.equal(lists, 10 + 5, 'one request per page of 1000 names, and one for v0.3.x');
  assert.ok(heads < 300, `${heads} requests for times`);
  assert.ok(gets <= 202, `${gets} reads of 200 planned files`);
});

test('RST-13 a time that was believed and is wrong leads to a plan from all times', async (t) => {
  const { fake, open } = await s3Bench(t);
  putHistory(fake, 64);
  // The clock was ahead for one transaction.
  put(fake, [0, 23, 23], timeOf(1000));
  const lines: string[] = [];
  const logger = checkedLogger((level, message) => void lines.push(`${level} ${message}`));
  const out = join(tempDir(t), 'out.db');
  const { plan } = await restoreDatabase({
    client: open({ endpoint: fake.endpoint }),
    outputPath: out,
    target: { timestampMs: timeOf(50) },
    fileSystem: nodeFileSystem,
    clock: systemClock,
    logger,
  });
  assert.equal(plan.maxTxid, 22n, 'only files created before the time, and no gap');
  assert.equal(await stateOf(out), 22);
  assert.deepEqual(lines, ['warn a planned file is too new, planning again']);
});
