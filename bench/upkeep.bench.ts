/**
 * What runs beside the capture, in this process: `node bench/upkeep.bench.ts [MB] [folder]`.
 *
 * A snapshot is written on threads, increments behind it are merged into one file, and the result is restored. The limit of the merge is
 * this program's own decoder, putting the pages of the same files into a database file; the event loop has a bound for all three.
 * Spec: performance 16, P13, P23.
 */
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeAlone, EncodePool, LtxFileWriter } from '../src/codec/index.ts';
import { compactLevel } from '../src/compaction/index.ts';
import { formatFileName, toTxid } from '../src/formats/ltx/index.ts';
import { systemClock } from '../src/lib/clock.ts';
import { nodeFileSystem } from '../src/lib/file-system.ts';
import { restoreDatabase } from '../src/restore/index.ts';
import { openFileReplica } from '../src/storage/index.ts';
import { noopLogger } from '../src/telemetry/index.ts';
import { makeDatabase } from './harness/databases.ts';
import { type HoldUps, holdUps } from './harness/event-loop.ts';
import { figure, isQuick, median } from './harness/figures.ts';
import { decodeInto, encodeDatabase } from './harness/ltx.ts';

const megabytes = Number(process.argv[2] ?? (isQuick ? 48 : 1024));
const folder = fs.mkdtempSync(join(process.argv[3] ?? tmpdir(), 'litestream-bench-'));
const path = (name: string): string => join(folder, name);
const PAGE_SIZE = 4096;
/** Each with every eighth page; some pages are in two of them. */
const INCREMENTS = 8;
const ROUNDS = isQuick ? 3 : 5;
const PORTS = { clock: systemClock, fileSystem: nodeFileSystem, logger: noopLogger };

function fileOf(level: number, min: number, max: number): string {
  return path(`replica/ltx/${level}/${formatFileName(toTxid(min), toTxid(max))}`);
}

/** Exchanges pages with their neighbours in the source, and writes them as the file of a transaction. */
async function writeIncrement(txid: number): Promise<void> {
  const source = fs.openSync(path('source'), 'r+');
  const commit = fs.fstatSync(source).size / PAGE_SIZE;
  const target = fs.openSync(fileOf(0, txid, txid), 'w');
  const none = { preApplyChecksum: 0n, walOffset: 0, walSize: 0, walSalt1: 0, walSalt2: 0 };
  const [minTxid, maxTxid] = [toTxid(txid), toTxid(txid)];
  const header = { flags: 2, pageSize: PAGE_SIZE, commit, minTxid, maxTxid, timestampMs: txid };
  const writer = new LtxFileWriter({
    header: { ...header, ...none, nodeId: 0n },
    sink: (bytes, position) => void fs.writeSync(target, bytes, 0, bytes.length, position),
  });
  for (let pgno = 2; pgno <= commit; pgno++) {
    if (pgno % INCREMENTS !== txid % INCREMENTS && pgno % 41 !== txid % 41) continue;
    const page = writer.slot();
    fs.readSync(source, page, 0, PAGE_SIZE, (pgno - 1) * PAGE_SIZE);
    page.reverse();
    fs.writeSync(source, page, 0, PAGE_SIZE, (pgno - 1) * PAGE_SIZE);
    writer.add(pgno);
    if (writer.needsFlush) await writer.flush();
  }
  await writer.finish();
  fs.closeSync(source);
  fs.closeSync(target);
}

/** Processor seconds of this process. */
async function cpuOf(run: () => unknown): Promise<number> {
  const before = process.cpuUsage();
  await run();
  const { system, user } = process.cpuUsage(before);
  return (system + user) / 1e6;
}

async function compact(): Promise<void> {
  const client = await openFileReplica(path('replica'), PORTS);
  // As if the level had the snapshot already: only increments are merged.
  const [minTxid, maxTxid] = [toTxid(1), toTxid(1)];
  const outcome = await compactLevel({
    ...PORTS,
    client,
    level: 1,
    intervalMs: 1e9,
    newest: { level: 1, minTxid, maxTxid, size: 1, createdAt: 0 },
    force: true,
    temporary: { fileSystem: nodeFileSystem, path: (name) => path(`temporary-${name}`) },
  });
  if (outcome.kind !== 'compacted' || outcome.inputs !== INCREMENTS) {
    throw new Error(`compaction: ${outcome.kind}`);
  }
  await client.close();
}

async function restore(): Promise<void> {
  fs.rmSync(path('restored'), { force: true });
  const client = await openFileReplica(path('replica'), PORTS);
  await restoreDatabase({ ...PORTS, client, outputPath: path('restored'), target: {} });
  await client.close();
}

/** What was restored has to be what was written. */
function checkData(): void {
  const [one, other] = ['source', 'restored'].map((name) => fs.openSync(path(name), 'r'));
  const [mine, theirs] = [Buffer.alloc(1 << 20), Buffer.alloc(1 << 20)];
  if (one === undefined || other === undefined) throw new Error('no files');
  for (let position = 0; ; position += mine.length) {
    const count = fs.readSync(one, mine, 0, mine.length, position);
    const found = fs.readSync(other, theirs, 0, theirs.length, position);
    if (count !== found || !mine.subarray(0, count).equals(theirs.subarray(0, found))) {
      throw new Error('the restored database is another one');
    }
    if (count === 0) break;
  }
  fs.closeSync(one);
  fs.closeSync(other);
}

/** Compactions and plain decoding in turn. @returns pages per second of the one over those of the other */
async function compareWithDecoder(): Promise<number> {
  const merged = path('replica/ltx/1');
  const ratios: number[] = [];
  for (let round = 0; round <= ROUNDS; round++) {
    fs.rmSync(merged, { recursive: true, force: true });
    fs.rmSync(path('decoded'), { force: true });
    const compaction = await cpuOf(compact);
    const decoder = await cpuOf(() => {
      for (let txid = 2; txid < 2 + INCREMENTS; txid++) {
        decodeInto(fileOf(0, txid, txid), path('decoded'), PAGE_SIZE);
      }
    });
    if (round > 0) ratios.push(decoder / compaction);
  }
  return median(ratios);
}

async function main(): Promise<void> {
  makeDatabase(path('source'), megabytes);
  fs.mkdirSync(path('replica/ltx/0'), { recursive: true });
  const pool = new EncodePool(systemClock);
  const snapshot = { from: path('source'), to: fileOf(0, 1, 1), pageSize: PAGE_SIZE };
  const turns = new Map<string, HoldUps>();
  turns.set(
    'snapshot on threads',
    await holdUps(() => encodeDatabase((...args) => pool.encode(...args), snapshot)),
  );
  await pool.close();
  turns.set(
    'snapshot without',
    await holdUps(() =>
      encodeDatabase((...args) => encodeAlone(...args, { clock: systemClock }), snapshot),
    ),
  );
  for (let txid = 2; txid < 2 + INCREMENTS; txid++) await writeIncrement(txid);
  turns.set('restore of all files', await holdUps(restore));
  checkData();
  const ratio = await compareWithDecoder();
  fs.rmSync(path('replica/ltx/1'), { recursive: true });
  turns.set('compaction', await holdUps(compact));
  // Now only the merged file leads to the end.
  for (let txid = 2; txid < 2 + INCREMENTS; txid++) fs.rmSync(fileOf(0, txid, txid));
  turns.set('restore of the merged file', await holdUps(restore));
  checkData();
  for (const [name, { max, p99 }] of turns) {
    process.stdout.write(`${name.padEnd(28)}p99 ${p99.toFixed(1)} ms, max ${max.toFixed(1)} ms\n`);
  }
  figure('P13', ratio);
  figure('P23', Math.max(...[...turns.values()].map(({ p99 }) => p99)));
}

try {
  await main();
} finally {
  fs.rmSync(folder, { recursive: true });
}
