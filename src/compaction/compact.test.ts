import assert from 'node:assert/strict';
import { readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { decodeLtxFile, toTxid } from '../formats/ltx/index.ts';
import { nodeFileSystem, type OpenFile } from '../lib/file-system.ts';
import { readAll, type FileInfo } from '../storage/index.ts';
import { noopLogger } from '../telemetry/index.ts';
import {
  FakeClock,
  FaultyClient,
  FaultyFileSystem,
  listAll,
  MemoryClient,
} from '../testing/index.ts';
import { compactLevel, type CompactOptions, type CompactOutcome } from './compact.ts';
import {
  encodeTransaction,
  play,
  putTransaction,
  START_MS,
  temporaryFolder,
  type History,
  type Step,
} from './test-history.ts';

const runs = process.env['SLOW'] === '1' ? 1000 : 60;
const temporary = await temporaryFolder();
after(() => rm(temporary.folder, { recursive: true }));

const step: fc.Arbitrary<Step> = fc.record({
  commit: fc.integer({ min: 1, max: 12 }),
  touched: fc.array(fc.integer({ min: 1, max: 12 }), { maxLength: 4 }),
});

function options(
  client: CompactOptions['client'],
  change: Partial<CompactOptions> = {},
): CompactOptions {
  return {
    client,
    level: 1,
    intervalMs: 1_000_000,
    newest: undefined,
    force: true,
    temporary,
    clock: new FakeClock(START_MS + 10_000_000),
    logger: noopLogger,
    ...change,
  };
}

async function replicaOf(history: History, txids: readonly number[]): Promise<MemoryClient> {
  const client = new MemoryClient();
  for (const txid of txids) await putTransaction(client, txid, encodeTransaction(history, txid));
  return client;
}

function numbers(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, at) => from + at);
}

function compacted(outcome: CompactOutcome): FileInfo {
  assert.equal(outcome.kind, 'compacted');
  return outcome.file;
}

/** Compares a merged file with the model: newest version of each page, nothing above the last commit. */
async function checkMerged(
  client: MemoryClient,
  history: History,
  file: FileInfo,
  [from, to]: readonly [number, number],
): Promise<void> {
  const found = decodeLtxFile(await readAll(client, file));
  const want = new Map<number, Uint8Array>();
  for (const txid of numbers(from, to)) {
    for (const { pgno, data } of history.files[txid] ?? []) want.set(pgno, data);
  }
  const commit = history.images[to]?.length ?? 0;
  const pages = [...want].filter(([pgno]) => pgno <= commit).toSorted(([a], [b]) => a - b);
  assert.deepEqual(
    found.pages.map(({ pgno, data }) => [pgno, Buffer.from(data).toString('hex')]),
    pages.map(([pgno, data]) => [pgno, Buffer.from(data).toString('hex')]),
  );
  const { header } = found;
  assert.deepEqual(
    [header.minTxid, header.maxTxid, header.commit, header.timestampMs, header.flags],
    [BigInt(from), BigInt(to), commit, START_MS + to * 1000, 2],
  );
  assert.deepEqual(
    [header.walOffset, header.walSize, header.walSalt1, header.walSalt2, header.nodeId],
    [0, 0, 0, 0, 0n],
  );
}

test('a merge equals the model, whatever the history, the payload form and the place of the copies', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 1, maxLength: 12 }),
      fc.nat(),
      fc.nat(),
      async (steps, legacy, split) => {
        const history = play(steps);
        const client = new MemoryClient();
        for (const txid of numbers(1, steps.length)) {
          const payload = ((legacy >> txid) & 1) === 1 ? 'frame' : 'block';
          await putTransaction(client, txid, encodeTransaction(history, txid, payload));
        }
        const cut = 1 + (split % steps.length);
        const first = compacted(
          await compactLevel(options(client, { isUnusable: (file) => file.minTxid > BigInt(cut) })),
        );
        await checkMerged(client, history, first, [1, cut]);
        if (cut < steps.length) {
          const second = compacted(await compactLevel(options(client, { newest: first })));
          await checkMerged(client, history, second, [cut + 1, steps.length]);
        }
        const top = compacted(await compactLevel(options(client, { level: 2 })));
        await checkMerged(client, history, top, [1, steps.length]);
        const found = decodeLtxFile(await readAll(client, top));
        assert.deepEqual(
          found.pages.map(({ data }) => Buffer.from(data)),
          history.images[steps.length]?.map((page) => Buffer.from(page)),
        );
      },
    ),
    { numRuns: runs },
  );
});

test('CMP-08 more inputs than may be open at once are merged in groups, and nothing temporary stays', async () => {
  const steps = numbers(1, 150).map((n) => ({ commit: 4 + (n % 3), touched: [1 + (n % 4)] }));
  const history = play(steps);
  for (const fanIn of [4, 64, 1000]) {
    const client = await replicaOf(history, numbers(1, 150));
    const outcome = await compactLevel(options(client, { fanIn }));
    assert.equal(outcome.kind === 'compacted' && outcome.inputs, 150);
    await checkMerged(client, history, compacted(outcome), [1, 150]);
    assert.deepEqual(await readdir(temporary.folder), []);
  }
});

test('frames in block form are copied byte for byte', async () => {
  const history = play([{ commit: 6, touched: [] }]);
  const client = await replicaOf(history, [1]);
  const file = compacted(await compactLevel(options(client)));
  const [input, output] = [
    Buffer.from(encodeTransaction(history, 1)),
    Buffer.from(await readAll(client, file)),
  ];
  // Behind the header only the checksum in the trailer differs.
  assert.deepEqual(output.subarray(100, -8), input.subarray(100, -8));
});

test('a second pass in the same interval is too early, one with nothing new finds nothing', async () => {
  const history = play([{ commit: 2, touched: [] }]);
  const client = await replicaOf(history, [1]);
  const clock = new FakeClock(START_MS + 1500);
  const newest = compacted(await compactLevel(options(client, { clock })));
  const again = { clock, newest, force: false, intervalMs: 10_000 };
  const early = await compactLevel(options(client, again));
  assert.deepEqual(early, { kind: 'too-early', nextAtMs: START_MS + 10_000 });
  clock.jump(10_000);
  const later = await compactLevel(options(client, again));
  assert.deepEqual(later, { kind: 'nothing' });
});

test('a newest file from the future does not hold compaction up', async () => {
  const history = play(numbers(1, 2).map(() => ({ commit: 2, touched: [1] })));
  const client = await replicaOf(history, [1, 2]);
  const newest = { level: 1, minTxid: toTxid(1), maxTxid: toTxid(1), size: 1, createdAt: 9e15 };
  const outcome = await compactLevel(options(client, { newest, force: false }));
  assert.equal(outcome.kind, 'compacted');
});

test('CMP-04 a gap is named; what lies before it is compacted, and a snapshot lets compaction go on behind it', async () => {
  const history = play(numbers(1, 8).map((n) => ({ commit: 3, touched: [1 + (n % 3)] })));
  const client = await replicaOf(history, [1, 2, 5, 6, 7, 8]);
  const first = await compactLevel(options(client));
  const gap = { level: 0, from: 3n, to: 4n };
  assert.deepEqual(first.kind === 'compacted' && first.gap, gap);
  await checkMerged(client, history, compacted(first), [1, 2]);
  const newest = compacted(first);
  assert.deepEqual(await compactLevel(options(client, { newest })), { kind: 'gap', gap });
  const behind = compacted(await compactLevel(options(client, { newest, covered: 4n })));
  await checkMerged(client, history, behind, [5, 8]);
});

test('a backlog becomes one file per interval', async () => {
  const history = play(numbers(1, 25).map((n) => ({ commit: 3, touched: [1 + (n % 3)] })));
  const client = await replicaOf(history, numbers(1, 25));
  const written: FileInfo[] = [];
  const clock = new FakeClock(START_MS + 24_500);
  await compactLevel(
    options(client, { clock, intervalMs: 10_000, onFile: (file) => void written.push(file) }),
  );
  // TXID n was created in second n; the interval that is going on joins the one before.
  assert.deepEqual(
    written.map(({ minTxid, maxTxid }) => [minTxid, maxTxid]),
    [
      [1n, 9n],
      [10n, 25n],
    ],
  );
  for (const file of written) {
    await checkMerged(client, history, file, [Number(file.minTxid), Number(file.maxTxid)]);
  }
});

test('CMP-04 files that others cover are passed over', async () => {
  const history = play(numbers(1, 8).map((n) => ({ commit: 3, touched: [1 + (n % 3)] })));
  const client = await replicaOf(history, numbers(1, 8));
  const ranges: [number, number][] = [
    [1, 5],
    [3, 4],
    [3, 8],
    [6, 8],
  ];
  for (const [from, to] of ranges) {
    const isUnusable = (file: FileInfo): boolean =>
      file.minTxid < BigInt(from) || file.maxTxid > BigInt(to);
    await compactLevel(options(client, { isUnusable, newest: undefined, covered: BigInt(from) }));
  }
  assert.equal((await listAll(client, 1)).length, 4);
  const top = compacted(await compactLevel(options(client, { level: 2 })));
  await checkMerged(client, history, top, [1, 8]);
});

test('a source that ends before a known file, or lacks a file that must be there, has a gap', async () => {
  const history = play(numbers(1, 4).map(() => ({ commit: 2, touched: [1] })));
  const client = await replicaOf(history, [1, 2, 3, 4]);
  const short = await compactLevel(options(client, { expected: 6n }));
  assert.deepEqual(short.kind === 'compacted' && short.gap, { level: 0, from: 5n, to: 6n });
  const newest = { ...compacted(short), maxTxid: toTxid(3) };
  await client.delete([{ level: 0, minTxid: toTxid(3), maxTxid: toTxid(3) }]);
  const lost = await compactLevel(options(client, { newest, anchor: 3n }));
  assert.deepEqual(lost, { kind: 'gap', gap: { level: 0, from: 3n, to: 3n } });
});

async function localCopies(history: History, txids: readonly number[]): Promise<string> {
  const { folder } = await temporaryFolder();
  after(() => rm(folder, { recursive: true }));
  for (const txid of txids) {
    await writeFile(join(folder, String(txid)), encodeTransaction(history, txid));
  }
  return folder;
}

function openIn(folder: string): (file: FileInfo) => Promise<OpenFile | undefined> {
  return async (file) => {
    const path = join(folder, String(file.minTxid));
    const stat = await nodeFileSystem.stat('test', path);
    return stat && nodeFileSystem.open('test', path, 'read');
  };
}

test('a damaged copy is replaced by the other one, at any byte and on either side', async () => {
  const history = play(numbers(1, 3).map((n) => ({ commit: 4, touched: [n] })));
  const good = encodeTransaction(history, 2);
  for (const side of ['local', 'remote'] as const) {
    for (let at = 0; at < good.length; at += 41) {
      const client = await replicaOf(history, [1, 2, 3]);
      const folder = await localCopies(history, side === 'local' ? [1, 2, 3] : [2]);
      const bad = Uint8Array.from(good);
      bad[at] = (bad[at] ?? 0) ^ 0x41;
      if (side === 'local') await writeFile(join(folder, '2'), bad);
      else
        client.store.set('ltx/0/0000000000000002-0000000000000002.ltx', {
          bytes: bad,
          createdAt: 0,
        });
      const file = compacted(await compactLevel(options(client, { openLocal: openIn(folder) })));
      await checkMerged(client, history, file, [1, 3]);
    }
  }
});

test('damage in every copy stops the compaction, names the file and leaves nothing', async () => {
  const history = play(numbers(1, 3).map((n) => ({ commit: 4, touched: [n] })));
  const client = await replicaOf(history, [1, 2, 3]);
  const bad = encodeTransaction(history, 2).subarray(0, 300);
  await putTransaction(client, 2, bad);
  await assert.rejects(compactLevel(options(client)), {
    code: 'ERR_LTX_CORRUPTED',
    message: /level=0 min=0000000000000002 max=0000000000000002/,
  });
  assert.deepEqual(await listAll(client, 1), []);
});

test('CAP-02 growth without the new pages is refused', async () => {
  const history = play([
    { commit: 4, touched: [] },
    { commit: 2, touched: [] },
    { commit: 5, touched: [] },
  ]);
  const files = history.files.map((pages, txid) =>
    txid === 3 ? pages.filter(({ pgno }) => pgno !== 3) : pages,
  );
  const client = await replicaOf({ ...history, files }, [1, 2, 3]);
  await assert.rejects(compactLevel(options(client)), { message: /growth is incomplete: 1 pages/ });
});

test('CMP-09 NODE-10 a broken, silent or early ending upload or disk leaves nothing, and the next pass works', async () => {
  const history = play(numbers(1, 70).map((n) => ({ commit: 900, touched: [n] })));
  for (const kind of ['before', 'partial', 'after'] as const) {
    const client = await replicaOf(history, numbers(1, 70));
    const faulty = new FaultyClient(client);
    faulty.inject({ operation: 'write', kind, amount: 1000 });
    await assert.rejects(compactLevel(options(faulty)), { code: 'ERR_STORAGE_TEMPORARY' });
    assert.deepEqual(await readdir(temporary.folder), []);
    const file = compacted(await compactLevel(options(faulty)));
    await checkMerged(client, history, file, [1, 70]);
  }
  for (const label of ['spool:open', 'spool:write', 'spool:read']) {
    const client = await replicaOf(history, numbers(1, 70));
    const fileSystem = new FaultyFileSystem(nodeFileSystem);
    fileSystem.fail('ENOSPC', { label });
    const files = { ...temporary, fileSystem };
    const change = { temporary: files, fanIn: 64 };
    await assert.rejects(compactLevel(options(client, change)));
    assert.deepEqual(await readdir(temporary.folder), []);
    const file = compacted(await compactLevel(options(client, change)));
    await checkMerged(client, history, file, [1, 70]);
  }
});

test('CMP-07 an abort ends a compaction and leaves nothing', async () => {
  const history = play(numbers(1, 3).map(() => ({ commit: 3, touched: [1] })));
  const client = await replicaOf(history, [1, 2, 3]);
  const faulty = new FaultyClient(client);
  faulty.inject({ operation: 'read', kind: 'hang', nth: 2 });
  const stop = new AbortController();
  const work = compactLevel(options(faulty, { signal: stop.signal }));
  setImmediate(() => stop.abort());
  await assert.rejects(work, { code: 'ERR_ABORTED' });
  assert.deepEqual(await listAll(client, 1), []);
});
