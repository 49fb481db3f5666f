import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import test, { after } from 'node:test';
import {
  EMPTY_CHECKSUM,
  encodeLtxFile,
  formatFileName,
  type LtxHeader,
  pageChecksum,
  rollChecksum,
  toTxid,
} from '../formats/ltx/index.ts';
import { type Clock, systemClock } from '../lib/clock.ts';
import { nodeFileSystem } from '../lib/file-system.ts';
import {
  encodeTestFile,
  type Image,
  mergeFiles,
  pagesOf,
  putBytes,
  type TestFile,
} from '../restore/test-replica.ts';
import { type FileInfo, openFileReplica, type ReplicaClient } from '../storage/index.ts';
import { MemoryClient } from '../testing/memory-client.ts';
import { randomNumbers } from '../testing/random.ts';
import {
  type Finding,
  type SourcePages,
  type VerifyOptions,
  verifyReplica,
  type VerifyReport,
  type VerifySource,
} from './index.ts';
import { sweepFiles, type SweepResult } from './sweep.ts';

const PAGE_SIZE = 512;
const LAST = 24;
const folder = mkdtempSync(join(tmpdir(), 'verify-'));
after(() => rmSync(folder, { recursive: true }));

/** Waits take a thousandth of their time. */
const hasty: Clock = {
  now: () => systemClock.now(),
  monotonic: () => systemClock.monotonic(),
  timer: (ms, callback) => systemClock.timer(ms / 1000, callback),
};

/** A real database as it is after each of some transactions. */
function play(path: string, transactions: number, seed: number): Image[] {
  const random = randomNumbers(seed);
  const database = new DatabaseSync(path);
  database.exec(`PRAGMA page_size = ${PAGE_SIZE}; PRAGMA journal_mode = delete`);
  database.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)');
  const images: Image[] = [[]];
  for (let txid = 1; txid <= transactions; txid++) {
    const size = 40 + Math.floor(random() * 300);
    database.prepare('INSERT OR REPLACE INTO t VALUES (?, randomblob(?))').run(txid % 17, size);
    const bytes = readFileSync(path);
    images.push(
      Array.from({ length: bytes.length / PAGE_SIZE }, (_, n) =>
        Uint8Array.from(bytes.subarray(n * PAGE_SIZE, (n + 1) * PAGE_SIZE)),
      ),
    );
  }
  database.close();
  return images;
}

const HEADER: LtxHeader = {
  flags: 0,
  pageSize: PAGE_SIZE,
  commit: 0,
  minTxid: toTxid(1),
  maxTxid: toTxid(1),
  timestampMs: 0,
  preApplyChecksum: 0n,
  walOffset: 0,
  walSize: 0,
  walSalt1: 0,
  walSalt2: 0,
  nodeId: 0n,
};

const images = play(join(folder, 'source.db'), LAST, 1);
const level0 = Array.from({ length: LAST }, (_, n): TestFile => increment(images, n + 1));

function increment(from: readonly Image[], txid: number): TestFile {
  const image = from[txid] ?? [];
  const before = from[txid - 1] ?? [];
  const pages = pagesOf(image).filter(({ pgno, data }) => {
    const old = before[pgno - 1];
    return old === undefined || Buffer.compare(old, data) !== 0;
  });
  return { level: 0, min: txid, max: txid, commit: image.length, pages };
}

function snapshot(txid: number, from: readonly Image[] = images): TestFile {
  const image = from[txid] ?? [];
  return { level: 9, min: 1, max: txid, commit: image.length, pages: pagesOf(image) };
}

/** Merges files of level 0 into one of another level. */
function merged(level: number, min: number, max: number): TestFile {
  return mergeFiles(level0.slice(min - 1, max), level);
}

/** Every level has files, level n with 2^n transactions in each up to level 4, and there are two snapshots. */
function allLevels(): TestFile[] {
  const files = [...level0, snapshot(1), snapshot(13)];
  for (let level = 1; level <= 8; level++) {
    const step = 2 ** Math.min(level, 4);
    for (let min = 1; min + step - 1 <= LAST; min += step) {
      files.push(merged(level, min, min + step - 1));
    }
  }
  return files;
}

async function replicaOf(files: readonly TestFile[]): Promise<MemoryClient> {
  const client = new MemoryClient();
  for (const file of files) await putBytes(client, file, encodeTestFile(file, PAGE_SIZE));
  return client;
}

/** A source that stands still in one state. */
function sourceOf(image: Image, txid: number | undefined, pageSize = PAGE_SIZE): VerifySource {
  const pages: SourcePages = {
    txid: txid === undefined ? undefined : toTxid(txid),
    pageSize,
    commit: image.length,
    read(first, count, target) {
      for (let n = 0; n < count; n++) target.set(image[first - 1 + n] ?? [], n * pageSize);
    },
    release: () => undefined,
  };
  return { path: '/app.db', pin: () => Promise.resolve(pages) };
}

async function verify(
  client: ReplicaClient,
  more: Partial<VerifyOptions> = {},
): Promise<VerifyReport> {
  return await verifyReplica({
    client,
    depth: 'standard',
    tempParent: folder,
    fileSystem: nodeFileSystem,
    clock: hasty,
    ...more,
  });
}

/** The part that reads the files, alone. */
async function sweep(client: ReplicaClient): Promise<SweepResult> {
  const list = async (): Promise<FileInfo[]> => {
    const files: FileInfo[] = [];
    for (let level = 0; level <= 9; level++) {
      for await (const file of client.list(level)) files.push(file);
    }
    return files;
  };
  return await sweepFiles({ client, clock: hasty, files: await list(), list });
}

function damages(report: VerifyReport): readonly Finding[] {
  return report.findings.filter(({ severity }) => severity === 'damage');
}

function kinds(findings: readonly Finding[]): string[] {
  return findings.map(({ kind }) => kind);
}

/** No finding at all, and a restore that equals the source. */
async function assertHealthy(client: ReplicaClient): Promise<void> {
  const report = await verify(client, {
    depth: 'full',
    source: sourceOf(images[LAST] ?? [], LAST),
  });
  assert.deepEqual(report.findings, []);
  assert.deepEqual(
    report.checks.map(({ status }) => status),
    ['ok', 'ok', 'ok', 'ok'],
  );
  assert.equal(report.verifiedTxid, toTxid(LAST));
}

test('a healthy replica with files at every level has no findings', async () => {
  await assertHealthy(await replicaOf(allLevels()));
});

test('what retention leaves of a replica has no findings', async () => {
  const compacted = [merged(1, 13, 16), merged(1, 17, 20), merged(2, 9, 16)];
  await assertHealthy(await replicaOf([snapshot(13), ...compacted, ...level0.slice(18)]));
  await assertHealthy(await replicaOf([snapshot(LAST)]));
  await assertHealthy(await replicaOf(level0));
  await assertHealthy(await replicaOf([merged(3, 1, 20), ...level0.slice(20)]));
  // Snapshots in the middle of what was compacted since.
  const early = merged(2, 1, 8);
  await assertHealthy(
    await replicaOf([early, snapshot(13), merged(2, 9, 16), merged(1, 17, LAST)]),
  );
  await assertHealthy(await replicaOf([snapshot(13), merged(2, 9, 16), merged(1, 17, LAST)]));
});

const REGIONS: readonly (readonly [region: string, at: (size: number) => number])[] = [
  ['magic', () => 1],
  ['page size', () => 10],
  ['commit', () => 15],
  ['min TXID', () => 23],
  ['timestamp', () => 38],
  ['WAL offset', () => 55],
  ['reserved header bytes', () => 90],
  ['page number', () => 103],
  ['page flags', () => 105],
  ['payload size', () => 109],
  ['payload', () => 120],
  ['index', (size) => size - 28],
  ['index size', (size) => size - 17],
  ['post-apply checksum', (size) => size - 12],
  ['file checksum', (size) => size - 3],
];

for (const [region, at] of REGIONS) {
  test(`RST-18 a flipped byte is found in every level: ${region}`, async () => {
    for (const level of [0, 1, 4, 9]) {
      const files = allLevels();
      const victim = files.findLastIndex((file) => file.level === level);
      const client = await replicaOf(files);
      const { min = 0, max = 0 } = files[victim] ?? {};
      const key = `ltx/${level}/${formatFileName(BigInt(min), BigInt(max))}`;
      const object = client.store.get(key);
      assert.ok(object);
      const bytes = object.bytes.slice();
      const offset = at(bytes.length);
      bytes[offset] = (bytes[offset] ?? 0) ^ 0x41;
      client.store.set(key, { ...object, bytes });
      const { findings } = await sweep(client);
      const found = findings.find(({ kind }) => kind === 'corrupt');
      assert.equal(found?.severity, 'damage');
      assert.equal(found.level, level, `${region} of level ${level}`);
      assert.match(found.message, new RegExp(formatFileName(BigInt(min), BigInt(max))));
    }
  });
}

test('RST-18 truncated, extended and empty files are found', async () => {
  const files = allLevels();
  const file = merged(2, 5, 8);
  const bytes = encodeTestFile(file, PAGE_SIZE);
  for (const wrong of [
    new Uint8Array(0),
    bytes.subarray(0, 60),
    bytes.subarray(0, 300),
    bytes.subarray(0, bytes.length - 1),
    Uint8Array.from([...bytes, 0]),
  ]) {
    const client = await replicaOf(files);
    const key = `ltx/2/${formatFileName(5n, 8n)}`;
    client.store.set(key, { bytes: wrong, createdAt: 8000 });
    const { findings } = await sweep(client);
    assert.deepEqual(kinds(findings), ['corrupt'], `${wrong.length} bytes`);
  }
});

/** Replicas in which one level alone holds what is going to be lost, and the file to lose. */
function soleHolders(level: number): { files: TestFile[]; lost: TestFile } {
  if (level === 9) return { files: [snapshot(9), ...level0.slice(9)], lost: snapshot(9) };
  if (level === 0) return { files: [snapshot(5), ...level0.slice(5)], lost: increment(images, 9) };
  const chain = [merged(level, 5, 8), merged(level, 9, 12), merged(level, 13, 16)];
  return { files: [snapshot(4), ...chain, ...level0.slice(16)], lost: merged(level, 9, 12) };
}

for (let level = 0; level <= 9; level++) {
  test(`a file that only level ${level} held is missed, with the restore points that are lost`, async () => {
    const { files, lost } = soleHolders(level);
    const rest = files.filter((file) => file.level !== lost.level || file.max !== lost.max);
    for (const depth of ['quick', 'standard'] as const) {
      const client = await replicaOf(rest);
      const report = await verify(client, { depth });
      const [first] = damages(report);
      assert.equal(first?.kind, level === 9 ? 'no-base' : 'gap');
      const from = level === 9 ? 1 : lost.min;
      assert.deepEqual(first.affected, { from: toTxid(from), to: toTxid(LAST) });
    }
  });
}

test('a gap that a later snapshot bridges loses the restore points before the snapshot', async () => {
  const client = await replicaOf([
    snapshot(4),
    ...level0.slice(4, 9),
    snapshot(15),
    ...level0.slice(15),
  ]);
  const report = await verify(client, { source: sourceOf(images[LAST] ?? [], LAST) });
  assert.deepEqual(kinds(report.findings), ['gap']);
  assert.deepEqual(damages(report)[0]?.affected, { from: toTxid(10), to: toTxid(14) });
  assert.equal(report.checks.find(({ name }) => name === 'source')?.status, 'ok');
});

test('a file that other levels stand in for is a warning, and what has expired is none of damage', async () => {
  const files = [
    snapshot(4),
    merged(1, 5, 8),
    merged(1, 13, 16),
    merged(2, 5, 16),
    ...level0.slice(16),
  ];
  const report = await verify(await replicaOf(files));
  assert.deepEqual(kinds(report.findings), ['level-gap']);
  assert.equal(report.ok, true);
  const expired = [merged(1, 1, 4), snapshot(12), merged(1, 9, 12), ...level0.slice(12)];
  const old = await verify(await replicaOf(expired));
  assert.equal(old.ok, true);
  assert.deepEqual(kinds(old.findings), ['gap']);
});

test('a well-formed file with the wrong pages is found at every level', async () => {
  for (let level = 0; level <= 9; level++) {
    const files = allLevels();
    const victim = files.findLastIndex((file) => file.level === level);
    const file = files[victim];
    assert.ok(file);
    const pages = file.pages.map((page, n) =>
      n === file.pages.length - 1 ? { ...page, data: page.data.map((byte) => byte ^ 1) } : page,
    );
    files[victim] = { ...file, pages };
    const report = await verify(await replicaOf(files));
    assert.equal(report.ok, false, `level ${level}`);
    const expected = level === 9 ? 'snapshot-differs' : 'differs';
    assert.ok(
      kinds(damages(report)).includes(expected),
      `level ${level}: ${kinds(report.findings).join()}`,
    );
  }
});

test('a gap that compaction hides is found by the files it was made of, and by a snapshot', async () => {
  const hidden = mergeFiles([...level0.slice(0, 6), ...level0.slice(7, 10)], 1);
  const holed = { ...hidden, min: 1, max: 10 };
  // All of level 0 is there; only what reaches up to the end is; none is, but a snapshot.
  for (const others of [level0, level0.slice(4), [snapshot(10), ...level0.slice(10)]]) {
    const report = await verify(await replicaOf([holed, ...others]));
    assert.ok(
      kinds(damages(report)).some((kind) => kind.endsWith('differs')),
      `${others.length} other files: ${kinds(report.findings).join()}`,
    );
  }
});

test('a compacted file that lacks a page, or has another size, is found', async () => {
  const sound = merged(2, 5, 12);
  const less = { ...sound, pages: sound.pages.slice(0, -1) };
  const larger = { ...sound, commit: sound.commit + 3 };
  for (const wrong of [less, larger]) {
    const report = await verify(await replicaOf([snapshot(4), wrong, ...level0.slice(4)]));
    assert.ok(kinds(damages(report)).includes('differs'));
  }
});

test('files with database checksums are held to them', async () => {
  const client = new MemoryClient();
  const sumOf = (image: Image): bigint =>
    rollChecksum(
      EMPTY_CHECKSUM,
      ...pagesOf(image).map(({ pgno, data }) => pageChecksum(pgno, data)),
    );
  const put = async (txid: number, before: bigint): Promise<void> => {
    const { commit, pages } = increment(images, txid);
    const header = { ...HEADER, commit, minTxid: toTxid(txid), maxTxid: toTxid(txid) };
    const content = {
      header: { ...header, preApplyChecksum: before },
      pages,
      postApplyChecksum: sumOf(images[txid] ?? []),
    };
    await putBytes(client, { level: 0, min: txid, max: txid }, encodeLtxFile(content));
  };
  await put(1, 0n);
  for (let txid = 2; txid <= 6; txid++) await put(txid, sumOf(images[txid - 1] ?? []));
  assert.deepEqual((await verify(client)).findings, []);
  // Transaction 4 was never in it.
  await put(5, sumOf(images[3] ?? []));
  assert.deepEqual(kinds((await sweep(client)).findings), ['checksum']);
});

test('a snapshot that differs from its increments is found, also when a compacted file reaches over it', async () => {
  const wrong = snapshot(13);
  const at = wrong.pages.findIndex(({ pgno }) => {
    return !level0.slice(11, 14).some((file) => file.pages.some((page) => page.pgno === pgno));
  });
  assert.ok(at >= 0);
  const pages = wrong.pages.map((page, n) =>
    n === at ? { ...page, data: page.data.map((byte) => byte ^ 0xff) } : page,
  );
  for (const increments of [
    level0,
    [...level0.slice(0, 11), merged(1, 12, 14), ...level0.slice(14)],
  ]) {
    const report = await verify(await replicaOf([...increments, { ...wrong, pages }]));
    const found = damages(report).find(({ kind }) => kind === 'snapshot-differs');
    assert.match(found?.message ?? '', new RegExp(`: page ${at + 1}$`));
    assert.equal(found?.affected?.from, toTxid(13));
  }
});

test('RST-22 a snapshot with pages of later transactions is a warning', async () => {
  const newer = { ...snapshot(14), max: 13 };
  const report = await verify(await replicaOf([newer, ...level0]));
  assert.deepEqual(kinds(report.findings), ['snapshot-newer']);
  assert.deepEqual(report.findings[0]?.affected, { from: toTxid(13), to: toTxid(13) });
  assert.equal(report.ok, true);
});

test('a replica of another database is recognised', async () => {
  const other = play(join(folder, 'other.db'), LAST, 2);
  const client = await replicaOf(Array.from({ length: LAST }, (_, n) => increment(other, n + 1)));
  for (const txid of [LAST, undefined]) {
    const report = await verify(client, { source: sourceOf(images[LAST] ?? [], txid) });
    assert.deepEqual(kinds(damages(report)), ['foreign']);
  }
  const large = [new Uint8Array(4096)];
  const report = await verify(client, { source: sourceOf(large, undefined, 4096) });
  assert.deepEqual(kinds(damages(report)), ['foreign']);
});

test('a file under the name of another is found', async () => {
  const client = await replicaOf(allLevels());
  const bytes = encodeTestFile(merged(1, 3, 4), PAGE_SIZE);
  await putBytes(client, { level: 1, min: 5, max: 6 }, bytes);
  assert.deepEqual(kinds(damages(await verify(client))), ['misnamed']);
});

test('a restored database that differs from the pinned source is damage, from a source that moved a warning', async () => {
  const client = await replicaOf(level0);
  const moved = (images[LAST] ?? []).with(2, new Uint8Array(PAGE_SIZE));
  const pinned = await verify(client, { source: sourceOf(moved, LAST) });
  assert.deepEqual(kinds(damages(pinned)), ['source-differs']);
  const unpinned = await verify(client, { source: sourceOf(moved, undefined) });
  assert.deepEqual(kinds(unpinned.findings), ['source-unproven']);
  assert.equal(unpinned.ok, true);
});

test('files that retention and compaction replace during the run are no damage', async () => {
  const files = [snapshot(1), ...level0];
  for (let when = 1; when <= files.length; when += 4) {
    const client = await replicaOf(files);
    let reads = 0;
    const racing: ReplicaClient = {
      type: 'memory',
      location: '',
      init: () => Promise.resolve(),
      list: (level, options) => client.list(level, options),
      read(key, options) {
        reads++;
        if (reads === when) {
          for (const file of [merged(1, 1, 12), merged(1, 13, 20)]) {
            const bytes = encodeTestFile(file, PAGE_SIZE);
            const name = formatFileName(BigInt(file.min), BigInt(file.max));
            client.store.set(`ltx/1/${name}`, { bytes, createdAt: 0 });
          }
          for (let txid = 1n; txid <= 20n; txid++)
            client.store.delete(`ltx/0/${formatFileName(txid, txid)}`);
        }
        return client.read(key, options);
      },
      write: () => Promise.reject(new Error('not here')),
      delete: () => Promise.reject(new Error('not here')),
      deleteAll: () => Promise.reject(new Error('not here')),
      close: () => Promise.resolve(),
    };
    const report = await verify(racing, { source: sourceOf(images[LAST] ?? [], LAST) });
    assert.deepEqual(report.findings, [], `deleted at read ${when}`);
  }
});

test('a file that stays listed and cannot be read is damage', async () => {
  const client = await replicaOf(allLevels());
  const key = `ltx/1/${formatFileName(5n, 6n)}`;
  const listed: ReplicaClient = {
    type: 'memory',
    location: '',
    init: () => Promise.resolve(),
    list: (level, options) => client.list(level, options),
    async *read(file, options) {
      const name = `ltx/${file.level}/${formatFileName(file.minTxid, file.maxTxid)}`;
      const ghost = name === key ? { ...file, minTxid: toTxid(99) } : file;
      yield* client.read(ghost, options);
    },
    write: () => Promise.reject(new Error('not here')),
    delete: () => Promise.reject(new Error('not here')),
    deleteAll: () => Promise.reject(new Error('not here')),
    close: () => Promise.resolve(),
  };
  assert.deepEqual(kinds(damages(await verify(listed))), ['unreadable']);
});

test('an empty replica is damage, and a listing that fails is an error', async () => {
  assert.deepEqual(kinds(damages(await verify(new MemoryClient()))), ['empty']);
  const client = new MemoryClient();
  const signal = AbortSignal.abort();
  await assert.rejects(verify(client, { signal }), { code: 'ERR_ABORTED' });
});

test('nothing of a drill stays, and what a killed run has left goes', async () => {
  const parent = join(folder, 'temp');
  mkdirSync(join(parent, 'litestream-verify-999999999-1-0'), { recursive: true });
  const own = `litestream-verify-${process.pid}--7`;
  mkdirSync(join(parent, own));
  mkdirSync(join(parent, 'somebody-else'));
  await verify(await replicaOf(level0), { tempParent: parent });
  assert.deepEqual(readdirSync(parent).toSorted(), [own, 'somebody-else']);
});

test('reading stays below the limit of bytes per second', async () => {
  let slept = 0;
  const clock: Clock = {
    now: () => systemClock.now(),
    monotonic: () => slept,
    timer(ms, callback) {
      slept += ms;
      return systemClock.timer(0, callback);
    },
  };
  const report = await verify(await replicaOf(level0), { clock, bytesPerSecond: 1000 });
  assert.equal(report.ok, true);
  assert.ok(slept >= report.bytesRead, `${report.bytesRead} bytes in ${slept} ms`);
});

interface Golden {
  readonly mtimes_ms: Readonly<Record<string, number>>;
}

const VECTORS = join(import.meta.dirname, '../../test/vectors/replicas');
const manifest = JSON.parse(readFileSync(join(VECTORS, 'manifest.json'), 'utf8')) as Record<
  string,
  Golden
>;

for (const name of Object.keys(manifest)) {
  test(`a replica that Litestream wrote has no damage: ${name}`, async () => {
    const client = await openFileReplica(join(VECTORS, name), {
      fileSystem: nodeFileSystem,
      clock: systemClock,
    });
    const report = await verify(client, { depth: 'full' });
    assert.deepEqual(damages(report), []);
    const allowed = name.startsWith('v0.5.5') ? ['snapshot-newer'] : [];
    assert.deepEqual(kinds(report.findings), allowed);
    assert.equal(report.checks.find(({ name: check }) => check === 'restore')?.status, 'ok');
  });
}
