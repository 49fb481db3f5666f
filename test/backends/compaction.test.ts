/** What a compaction asks of a store, and that it takes all that is there. */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { compactLevel, type CompactOutcome } from '../../src/compaction/index.ts';
import {
  encodeTransaction,
  play,
  START_MS,
  temporaryFolder,
} from '../../src/compaction/test-history.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { nodeFileSystem } from '../../src/lib/file-system.ts';
import {
  bytesSource,
  type FileInfo,
  type ReplicaClient,
  type ReplicaLocation,
} from '../../src/storage/index.ts';
import { noopLogger } from '../../src/telemetry/index.ts';
import { FakeClock, fileKey, listAll } from '../../src/testing/index.ts';
import { type FaultProxy, startNatsServer, startSshd } from '../support/servers/index.ts';
import { sftpLocation } from '../support/servers/sftp-location.ts';
import { tempDir } from '../support/temp-dir.ts';
import { natsLocation } from './nats-location.ts';
import { startAbs, startGs, startOss, startS3, startWebdav } from './stores.ts';
import { openReplica } from '../support/guarded.ts';

interface Place {
  readonly location: ReplicaLocation;
  readonly environment?: Readonly<Record<string, string>>;
  readonly proxy?: FaultProxy;
}

const PLACES: Readonly<Record<string, (t: TestContext) => Promise<Place | undefined>>> = {
  file: (t) => Promise.resolve({ location: { type: 'file', path: join(tempDir(t), 'replica') } }),
  s3: startS3,
  gs: startGs,
  abs: startAbs,
  oss: startOss,
  webdav: startWebdav,
  async nats(t) {
    const nats = await startNatsServer(t);
    return nats && { location: natsLocation(nats.url, nats.bucket) };
  },
  async sftp(t) {
    const sshd = await startSshd(t);
    return sshd && { location: sftpLocation(sshd) };
  },
};

const TRANSACTIONS = 15;
const HISTORY = play(
  Array.from({ length: TRANSACTIONS }, (_, at) => ({ commit: 4 + at, touched: [1, 2] })),
);

async function put(client: ReplicaClient, from: number, to: number): Promise<void> {
  for (let txid = from; txid <= to; txid += 1) {
    await client.write(fileKey(0, txid), bytesSource(encodeTransaction(HISTORY, txid)));
  }
}

async function compact(
  t: TestContext,
  client: ReplicaClient,
  newest: FileInfo | undefined,
): Promise<CompactOutcome> {
  const temporary = await temporaryFolder();
  t.after(() => {
    rmSync(temporary.folder, { recursive: true });
  });
  return await compactLevel({
    client,
    level: 1,
    intervalMs: 1_000_000,
    newest,
    force: true,
    temporary,
    clock: new FakeClock(START_MS + 10_000_000),
    logger: noopLogger,
  });
}

function fileOf(outcome: CompactOutcome, inputs: number): FileInfo {
  assert.equal(outcome.kind, 'compacted');
  assert.equal(outcome.inputs, inputs);
  return outcome.file;
}

for (const [name, start] of Object.entries(PLACES)) {
  test(`${name}: CMP-05 a compaction takes every file that is there, each with one request`, async (t) => {
    const place = await start(t);
    if (place === undefined) return;
    const { location, environment = {}, proxy } = place;
    const ports = { clock: systemClock, fileSystem: nodeFileSystem, environment };
    const client = await openReplica(location, ports);
    t.after(() => client.close());
    await put(client, 1, 12);
    const asked = proxy?.exchanges.length ?? 0;
    const first = fileOf(await compact(t, client, undefined), 12);
    const reads = proxy?.exchanges.slice(asked).filter(isRead).length ?? 12;
    assert.equal(reads, 12, 'a file is read in one go');
    await put(client, 13, 15);
    // It begins behind the end of what there is.
    const second = fileOf(await compact(t, client, first), 3);
    assert.deepEqual([second.minTxid, second.maxTxid], [13n, 15n]);
    assert.equal((await listAll(client, 1)).length, 2);
  });
}

function isRead({ method, target }: { method: string; target: string }): boolean {
  return method === 'GET' && target.includes('.ltx');
}
