import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import test, { after } from 'node:test';
import fc from 'fast-check';
import { toTxid } from '../formats/ltx/index.ts';
import { systemClock } from '../lib/clock.ts';
import { LitestreamError } from '../lib/errors.ts';
import { nodeFileSystem } from '../lib/file-system.ts';
import { lockPgno } from '../lib/page.ts';
import { openFileReplica, type ReplicaClient } from '../storage/index.ts';
import { noopLogger } from '../telemetry/index.ts';
import { FakeClock } from '../testing/fake-clock.ts';
import { FaultyClient } from '../testing/faulty-client.ts';
import { FaultyFileSystem } from '../testing/faulty-file-system.ts';
import { MemoryClient } from '../testing/memory-client.ts';
import { randomNumbers } from '../testing/random.ts';
import {
  isEmptyReplica,
  ReplicaCatalog,
  type RestoreOptions,
  type RestoreProgress,
  restoreDatabase,
  timeBounds,
} from './index.ts';
import {
  concat,
  encodeTestFile,
  type Image,
  mergeFiles,
  pagesOf,
  putBytes,
  putFile,
  type TestFile,
} from './test-replica.ts';

const SLOW = process.env['SLOW'] === '1';
const folder = mkdtempSync(join(tmpdir(), 'restore-'));
after(() => rmSync(folder, { recursive: true }));

let counter = 0;
function freshPath(): string {
  counter += 1;
  const path = join(folder, String(counter));
  mkdirSync(path);
  return join(path, 'out.db');
}

function optionsFor(client: ReplicaClient, more: Partial<RestoreOptions> = {}): RestoreOptions {
  return {
    client,
    outputPath: freshPath(),
    target: {},
    fileSystem: nodeFileSystem,
    clock: systemClock,
    logger: noopLogger,
    ...more,
  };
}

/** Restores and returns the output; checks that nothing else is left beside it. */
async function restored(
  client: ReplicaClient,
  more: Partial<RestoreOptions> = {},
): Promise<Uint8Array> {
  const options = optionsFor(client, more);
  const result = await restoreDatabase(options);
  const bytes = readFileSync(options.outputPath);
  assert.equal(result.bytesWritten, bytes.length);
  assert.deepEqual(readdirSync(join(options.outputPath, '..')), ['out.db']);
  return bytes;
}

/** Restores and expects an error and an empty folder. */
async function refused(
  client: ReplicaClient,
  more: Partial<RestoreOptions> = {},
): Promise<LitestreamError> {
  const options = optionsFor(client, more);
  let error: unknown;
  try {
    await restoreDatabase(options);
  } catch (found) {
    error = found;
  }
  assert.ok(error instanceof LitestreamError, `expected an error, found ${String(error)}`);
  assert.deepEqual(readdirSync(join(options.outputPath, '..')), []);
  return error;
}

function assertSame(found: Uint8Array, expected: Uint8Array, what: string): void {
  assert.equal(found.length, expected.length, what);
  assert.ok(Buffer.compare(found, expected) === 0, what);
}

const page = (fill: number, pageSize = 512): Uint8Array<ArrayBuffer> =>
  new Uint8Array(pageSize).fill(fill);

interface History {
  readonly pageSize: number;
  /** Image n is the state after TXID n + 1. */
  readonly images: readonly Image[];
  readonly files: readonly TestFile[];
}

/** Random transactions: changed pages, growth (with every new page), shrinking; as single files of level 0. */
function makeHistory(seed: number, pageSize: number, transactions: number): History {
  const random = randomNumbers(seed);
  const upTo = (n: number): number => Math.floor(random() * n);
  const images: Image[] = [];
  const files: TestFile[] = [];
  let image: Uint8Array[] = [];
  for (let txid = 1; txid <= transactions; txid += 1) {
    const before = image.length;
    const kind = upTo(5);
    const commit =
      txid === 1
        ? 1 + upTo(60)
        : kind === 0
          ? before + upTo(40)
          : kind === 1
            ? 1 + upTo(before)
            : before;
    const changed = new Set<number>();
    for (let pgno = before + 1; pgno <= commit; pgno += 1) changed.add(pgno);
    for (let count = upTo(6); count >= 0; count -= 1) changed.add(1 + upTo(commit));
    image = image.slice(0, commit);
    for (const pgno of changed) {
      const data = new Uint8Array(pageSize).fill(upTo(256), 0, upTo(pageSize));
      for (let at = upTo(pageSize); at < pageSize; at += 1) data[at] = upTo(256);
      image[pgno - 1] = data;
    }
    images.push(image);
    const pages = [...changed]
      .toSorted((a, b) => a - b)
      .map((pgno) => ({ pgno, data: image[pgno - 1] ?? page(0) }));
    files.push({
      level: 0,
      min: txid,
      max: txid,
      commit,
      pages,
      payload: upTo(3) === 0 ? 'frame' : 'block',
    });
  }
  return { pageSize, images, files };
}

/** Level 0 complete, some compacted files above, some snapshots. */
function addCompactions(history: History, seed: number): TestFile[] {
  const random = randomNumbers(seed);
  const all = [...history.files];
  for (let level = 1; level <= 3; level += 1) {
    const span = 2 ** level;
    for (let at = 0; at + span <= history.files.length; at += span) {
      if (random() < 0.7) all.push(mergeFiles(history.files.slice(at, at + span), level));
    }
  }
  for (const [index, image] of history.images.entries()) {
    if (random() > 0.3) continue;
    all.push({
      level: 9,
      min: 1,
      max: index + 1,
      commit: image.length,
      pages: pagesOf(image),
      payload: random() < 0.3 ? 'frame' : 'block',
    });
  }
  return all;
}

async function fill(
  client: ReplicaClient,
  files: readonly TestFile[],
  pageSize: number,
): Promise<ReplicaClient> {
  for (const file of files) await putFile(client, file, pageSize);
  return client;
}

function fileReplica(path: string): Promise<ReplicaClient> {
  return openFileReplica(path, { fileSystem: nodeFileSystem, clock: systemClock });
}

const pageSizes = fc.constantFrom(512, 1024, 4096, 65536);

test('I1 restores every state of a random history, from memory and from a folder', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.nat(1e9),
      pageSizes,
      fc.integer({ min: 1, max: 14 }),
      async (seed, pageSize, length) => {
        const history = makeHistory(seed, pageSize, pageSize > 4096 ? Math.min(length, 4) : length);
        const files = addCompactions(history, seed + 1);
        const memory = await fill(new MemoryClient(), files, pageSize);
        const local = await fill(await fileReplica(freshPath()), files, pageSize);
        for (const [index, image] of history.images.entries()) {
          const target = { txid: toTxid(index + 1) };
          const expected = concat(image);
          assertSame(
            await restored(memory, { target, parallelism: 1 + (seed % 5) }),
            expected,
            `memory, TXID ${index + 1}`,
          );
          assertSame(await restored(local, { target }), expected, `folder, TXID ${index + 1}`);
        }
        const last = history.images.at(-1);
        assertSame(await restored(local), concat(last ?? []), 'latest');
      },
    ),
    { numRuns: SLOW ? 200 : 8 },
  );
});

test('restores the state before a time', async () => {
  const history = makeHistory(5, 512, 6);
  const client = await fill(new MemoryClient(), history.files, 512);
  for (const timestampMs of [1001, 2000, 2001, 5500, 9000]) {
    const index = Math.min(6, Math.ceil(timestampMs / 1000) - 1) - 1;
    assertSame(
      await restored(client, { target: { timestampMs } }),
      concat(history.images[index] ?? []),
      String(timestampMs),
    );
  }
  assert.equal(
    (await refused(client, { target: { timestampMs: 1000 } })).code,
    'ERR_TX_NOT_AVAILABLE',
  );
});

test('a page that a shrink removed and no later file holds comes from before the shrink, as in a merge', async () => {
  const files: TestFile[] = [
    { level: 0, min: 1, max: 1, commit: 3, pages: pagesOf([page(1), page(2), page(3)]) },
    { level: 0, min: 2, max: 2, commit: 1, pages: [{ pgno: 1, data: page(4) }] },
    {
      level: 0,
      min: 3,
      max: 3,
      commit: 3,
      pages: [
        { pgno: 1, data: page(5) },
        { pgno: 3, data: page(6) },
      ],
    },
  ];
  const client = await fill(new MemoryClient(), files, 512);
  assertSame(await restored(client), concat([page(5), page(2), page(6)]), 'grown again');
  assertSame(await restored(client, { target: { txid: toTxid(2) } }), page(4), 'shrunk');
});

test('refuses a plan in which no file holds some page', async () => {
  const files: TestFile[] = [
    { level: 0, min: 1, max: 1, commit: 1, pages: pagesOf([page(1)]) },
    { level: 0, min: 2, max: 2, commit: 4, pages: [{ pgno: 4, data: page(4) }] },
  ];
  const error = await refused(await fill(new MemoryClient(), files, 512));
  assert.match(
    error.message,
    /nonsequential page numbers in snapshot transaction: 1,4: no planned file holds page 2/,
  );
});

test('writes superseded pages of the first file only where a newer file overwrites them', async () => {
  const first = Array.from({ length: 500 }, (_, index) => page(index % 251));
  const second = [50, 51, 100, 150, 151, 152, 300, 301].map((pgno) => ({ pgno, data: page(255) }));
  for (let pgno = 340; pgno < 400; pgno += 1) second.push({ pgno, data: page(254) });
  const files: TestFile[] = [
    { level: 9, min: 1, max: 1, commit: 500, pages: pagesOf(first) },
    { level: 0, min: 2, max: 2, commit: 450, pages: second },
  ];
  const expected = first.slice(0, 450);
  for (const { pgno, data } of second) expected[pgno - 1] = data;
  assertSame(
    await restored(await fill(new MemoryClient(), files, 512)),
    concat(expected),
    'bridged',
  );
});

test('reads large files in several requests and runs', async () => {
  const random = randomNumbers(3);
  const image = Array.from({ length: 3000 }, () =>
    Uint8Array.from({ length: 1024 }, () => Math.floor(random() * 256)),
  );
  const files: TestFile[] = [
    { level: 9, min: 1, max: 4, commit: 3000, pages: pagesOf(image) },
    { level: 0, min: 5, max: 5, commit: 3000, pages: [{ pgno: 2999, data: page(9, 1024) }] },
  ];
  const expected = [...image];
  expected[2998] = page(9, 1024);
  const client = new FaultyClient(await fill(new MemoryClient(), files, 1024));
  assertSame(await restored(client), concat(expected), 'remote');
  const local = await fill(await fileReplica(freshPath()), files, 1024);
  assertSame(await restored(local), concat(expected), 'local');
});

test('leaves the lock page as zeros', { skip: SLOW ? false : 'SLOW=1: writes 1 GiB' }, async () => {
  const lock = lockPgno(65536);
  const pages = Array.from({ length: lock + 1 }, (_, index) => ({
    pgno: index + 1,
    data: page(7, 65536),
  }));
  const files: TestFile[] = [
    {
      level: 9,
      min: 1,
      max: 1,
      commit: lock + 1,
      pages: pages.filter(({ pgno }) => pgno !== lock),
    },
  ];
  const options = optionsFor(await fill(new MemoryClient(), files, 65536));
  await restoreDatabase(options);
  const bytes = readFileSync(options.outputPath);
  assert.equal(bytes.length, (lock + 1) * 65536);
  assert.deepEqual(bytes.subarray((lock - 1) * 65536, lock * 65536), Buffer.alloc(65536));
  assert.equal(bytes[(lock - 1) * 65536 - 1], 7);
  assert.equal(bytes[lock * 65536], 7);
  rmSync(options.outputPath);
});

// --- damage -------------------------------------------------------------------------------------------------------

function damageFiles(payload: 'block' | 'frame'): TestFile[] {
  const random = randomNumbers(8);
  const noise = (from: number): Uint8Array =>
    page(3).map((byte, at) => (at < from ? byte : Math.floor(random() * 256)));
  return [
    {
      level: 9,
      min: 1,
      max: 2,
      commit: 3,
      pages: pagesOf([noise(480), noise(490), noise(500)]),
      payload,
    },
    {
      level: 0,
      min: 3,
      max: 3,
      commit: 4,
      pages: [
        { pgno: 2, data: noise(470) },
        { pgno: 4, data: noise(500) },
      ],
      payload,
    },
    { level: 0, min: 4, max: 4, commit: 4, pages: [{ pgno: 4, data: noise(490) }], payload },
  ];
}

for (const payload of ['block', 'frame'] as const) {
  test(`RST-12 RST-23 I2 no cut of any planned file goes unnoticed (${payload} payload)`, async () => {
    const files = damageFiles(payload);
    for (const file of files) {
      const client = await fill(new MemoryClient(), files, 512);
      const bytes = encodeTestFile(file, 512);
      for (
        let cut = 0;
        cut < bytes.length;
        cut += cut < 110 || cut > bytes.length - 45 || SLOW ? 1 : 7
      ) {
        await putForeign(client, file, bytes.subarray(0, cut));
        const error = await refused(client);
        assert.ok(
          ['ERR_LTX_CORRUPTED', 'ERR_LTX_HEADER'].includes(error.code),
          `${cut}: ${error.message}`,
        );
        if (cut < 100)
          assert.match(
            error.message,
            new RegExp(
              `^invalid ltx file: level=${file.level} min=.* has size ${cut} bytes \\(minimum 100\\)$`,
            ),
          );
        else
          assert.match(
            error.message,
            new RegExp(
              `^ltx file \\(level=${file.level} min=000000000000000${file.min} .*: .*at byte \\d+`,
            ),
            String(cut),
          );
      }
    }
  });

  test(`RST-18 I2 a flipped bit anywhere gives an error or the same database (${payload} payload)`, async () => {
    const files = damageFiles(payload);
    const expected = await restored(await fill(new MemoryClient(), files, 512));
    for (const file of files) {
      const client = await fill(new MemoryClient(), files, 512);
      const bytes = encodeTestFile(file, 512);
      for (
        let at = 0;
        at < bytes.length;
        at += at < 120 || at > bytes.length - 60 || SLOW ? 1 : 5
      ) {
        for (const bit of SLOW ? [0, 1, 2, 3, 4, 5, 6, 7] : [at % 8]) {
          const damaged = Uint8Array.from(bytes);
          damaged[at] = (damaged[at] ?? 0) ^ (1 << bit);
          await putForeign(client, file, damaged);
          const options = optionsFor(client);
          try {
            await restoreDatabase(options);
          } catch (error) {
            assert.ok(
              error instanceof LitestreamError && error.code.startsWith('ERR_LTX'),
              `${at}.${bit}: ${String(error)}`,
            );
            assert.deepEqual(readdirSync(join(options.outputPath, '..')), []);
            continue;
          }
          // Another compressed form of the same page is no damage.
          assertSame(readFileSync(options.outputPath), expected, `byte ${at}, bit ${bit}`);
        }
      }
    }
  });
}

/** Any bytes under a file's name: what a store would hold after damage. */
function putForeign(client: ReplicaClient, file: TestFile, bytes: Uint8Array): Promise<void> {
  assert.ok(client instanceof MemoryClient);
  const hex = (n: number): string => n.toString(16).padStart(16, '0');
  client.putForeign(file.level, `${hex(file.min)}-${hex(file.max)}.ltx`, Uint8Array.from(bytes));
  return Promise.resolve();
}

test('an appended byte is a checksum mismatch', async () => {
  const files = damageFiles('block');
  const client = await fill(new MemoryClient(), files, 512);
  const last = files[2] ?? assert.fail();
  await putForeign(client, last, Uint8Array.from([...encodeTestFile(last, 512), 120]));
  assert.match((await refused(client)).message, /file checksum mismatch/);
});

test('names a file that is stored under the next name', async () => {
  const files = damageFiles('block');
  const client = await fill(new MemoryClient(), files, 512);
  const last = files[2] ?? assert.fail();
  await putBytes(client, { level: 0, min: 5, max: 5 }, encodeTestFile(last, 512));
  const id = '0000000000000004';
  const error = await refused(client);
  assert.ok(
    error.message.includes(
      `non-contiguous transaction ids in input files: (${id},${id}) -> (${id},${id})`,
    ),
    error.message,
  );
});

test('names a header that disagrees with its name although the files continue each other', async () => {
  const files = damageFiles('block');
  const client = await fill(new MemoryClient(), files.slice(0, 2), 512);
  const wide = { ...(files[2] ?? assert.fail()), max: 6 };
  await putBytes(client, { level: 0, min: 4, max: 5 }, encodeTestFile(wide, 512));
  assert.match((await refused(client)).message, /header disagrees with the file name/);
});

test('refuses files of different page sizes', async () => {
  const client = await fill(new MemoryClient(), damageFiles('block').slice(0, 2), 512);
  await putFile(
    client,
    { level: 0, min: 4, max: 4, commit: 4, pages: [{ pgno: 1, data: page(1, 1024) }] },
    1024,
  );
  assert.match(
    (await refused(client)).message,
    /input files have mismatched page sizes: 512 != 1024/,
  );
});

test('refuses a huge commit size before it reserves memory for it', async () => {
  const client = await fill(new MemoryClient(), damageFiles('block').slice(0, 2), 512);
  await putFile(
    client,
    { level: 0, min: 4, max: 4, commit: 0xffff_ffff, pages: [{ pgno: 1, data: page(1) }] },
    512,
  );
  assert.match(
    (await refused(client)).message,
    /commit size exceeds what the planned files can hold/,
  );
});

// --- threads ------------------------------------------------------------------------------------------------------

/** A folder replica whose plan is large enough for threads: a snapshot of noise and two small files. */
async function largeReplica(): Promise<{
  client: ReplicaClient;
  expected: Uint8Array;
  snapshot: string;
}> {
  const noise = randomBytes(4600 * 4096);
  const image = Array.from({ length: 4600 }, (_, at) => noise.subarray(at * 4096, (at + 1) * 4096));
  const path = freshPath();
  const client = await fileReplica(path);
  const files: TestFile[] = [
    { level: 9, min: 1, max: 2, commit: 4600, pages: pagesOf(image) },
    {
      level: 0,
      min: 3,
      max: 3,
      commit: 4600,
      pages: [1, 7, 8, 9, 4000].map((pgno) => ({ pgno, data: page(pgno % 256, 4096) })),
    },
    {
      level: 0,
      min: 4,
      max: 4,
      commit: 4550,
      pages: [8, 100, 160, 4550].map((pgno) => ({ pgno, data: page(9, 4096) })),
    },
  ];
  await fill(client, files, 4096);
  const merged = mergeFiles(files, 9);
  const expected = concat(merged.pages.map(({ data }) => data));
  return { client, expected, snapshot: join(path, 'ltx/9/0000000000000001-0000000000000002.ltx') };
}

test('restores a large plan of local files on threads', async () => {
  const { client, expected, snapshot } = await largeReplica();
  const seen: RestoreProgress[] = [];
  assertSame(
    await restored(client, { onProgress: (progress) => void seen.push(progress) }),
    expected,
    'threads',
  );
  assert.equal(seen.at(-1)?.bytesDone, seen.at(-1)?.bytesTotal);
  assertSame(await restored(client, { parallelism: 1 }), expected, 'one task');

  const bytes = readFileSync(snapshot);
  for (const at of [5000, 9_000_000, bytes.length - 3]) {
    const damaged = Uint8Array.from(bytes);
    damaged[at] = (damaged[at] ?? 0) ^ 4;
    writeFileSync(snapshot, damaged);
    const error = await refused(client);
    assert.match(
      error.message,
      /^ltx file \(level=9 min=0000000000000001 max=0000000000000002\): .* at byte \d+/,
    );
  }
  writeFileSync(snapshot, bytes);

  const controller = new AbortController();
  const running = refused(client, {
    signal: controller.signal,
    onProgress: ({ phase }) => {
      if (phase === 'fetch') controller.abort();
    },
  });
  assert.equal((await running).code, 'ERR_ABORTED');

  // The file goes after it was surveyed: the threads find it missing, a new plan is made and fails.
  const gone = await refused(client, {
    fileSystem: {
      ...nodeFileSystem,
      freeBytes: (label, path) => {
        rmSync(snapshot, { force: true });
        return nodeFileSystem.freeBytes(label, path);
      },
    },
  });
  assert.ok(['ERR_TX_GAP', 'ERR_TX_NOT_AVAILABLE'].includes(gone.code), gone.message);
});

// --- output -------------------------------------------------------------------------------------------------------

async function smallReplica(): Promise<{ client: ReplicaClient; expected: Uint8Array }> {
  const history = makeHistory(11, 512, 4);
  return {
    client: await fill(new MemoryClient(), history.files, 512),
    expected: concat(history.images[3] ?? []),
  };
}

test('writes rollback-journal mode into the header where that is asked for, and changes nothing else', async () => {
  const { client, expected } = await smallReplica();
  const found = await restored(client, { rollbackMode: true });
  assert.deepEqual([found[18], found[19]], [1, 1]);
  found.set(expected.subarray(18, 20), 18);
  assertSame(found, expected, 'the rest');
});

test('RST-16 creates missing parents', async () => {
  const { client, expected } = await smallReplica();
  const outputPath = join(freshPath(), 'a/b/out.db');
  await restoreDatabase(optionsFor(client, { outputPath }));
  assertSame(readFileSync(outputPath), expected, 'below new folders');
});

test('RST-08 refuses existing outputs and sidecars, also beside a missing output, and touches nothing', async () => {
  const { client } = await smallReplica();
  const cases: readonly (readonly [string, string, RegExp])[] = [
    [
      '',
      'precious',
      /^cannot restore, output path already exists and is not empty: .*out\.db\. Use -force to overwrite$/,
    ],
    [
      '-wal',
      'stale',
      /^cannot restore, SQLite sidecar path already exists: .*out\.db-wal\. Use -force to overwrite$/,
    ],
    ['-shm', '', /SQLite sidecar path already exists/],
    ['-journal', 'stale', /SQLite sidecar path already exists/],
  ];
  for (const [suffix, content, message] of cases) {
    const options = optionsFor(client);
    writeFileSync(`${options.outputPath}${suffix}`, content);
    await assert.rejects(restoreDatabase(options), { code: 'ERR_OUTPUT_EXISTS', message });
    assert.equal(readFileSync(`${options.outputPath}${suffix}`, 'utf8'), content);
    assert.equal(readdirSync(join(options.outputPath, '..')).length, 1);
  }
  const folderOutput = optionsFor(client);
  mkdirSync(folderOutput.outputPath);
  await assert.rejects(restoreDatabase({ ...folderOutput, force: true }), {
    message: /^cannot restore, output path is a directory: /,
  });
});

test('RST-08 RST-16 replaces an empty output, and with force anything, sidecars included', async () => {
  const { client, expected } = await smallReplica();
  const empty = optionsFor(client);
  writeFileSync(empty.outputPath, '');
  await restoreDatabase(empty);
  assertSame(readFileSync(empty.outputPath), expected, 'empty');
  for (const existing of [true, false]) {
    const options = optionsFor(client, { force: true });
    if (existing) writeFileSync(options.outputPath, 'old', { mode: 0o640 });
    for (const suffix of ['-wal', '-shm', '-journal'])
      writeFileSync(`${options.outputPath}${suffix}`, 'stale');
    writeFileSync(
      `${options.outputPath}.tmp`,
      'left by a killed restore, longer than the database '.repeat(9999),
    );
    await restoreDatabase(options);
    assertSame(readFileSync(options.outputPath), expected, 'forced');
    assert.deepEqual(readdirSync(join(options.outputPath, '..')), ['out.db']);
    if (existing) assert.equal(statSync(options.outputPath).mode & 0o777, 0o640);
  }
});

test('RST-20 keeps the existing database when there is nothing to restore', async () => {
  const options = optionsFor(new MemoryClient(), { force: true });
  writeFileSync(options.outputPath, 'precious');
  writeFileSync(`${options.outputPath}-wal`, 'also');
  await assert.rejects(restoreDatabase(options), {
    code: 'ERR_TX_NOT_AVAILABLE',
    message: 'transaction not available',
  });
  assert.deepEqual(readdirSync(join(options.outputPath, '..')).toSorted(), [
    'out.db',
    'out.db-wal',
  ]);
});

test('RST-11 RST-20 I3 whatever file operation fails, the old database stays or the new one is complete, and no temporary file is left', async () => {
  const { client, expected } = await smallReplica();
  const recorder = new FaultyFileSystem(nodeFileSystem);
  const first = optionsFor(client, { fileSystem: recorder, force: true });
  writeFileSync(first.outputPath, 'precious');
  await restoreDatabase(first);
  const total = recorder.calls.length;
  assert.ok(total > 10);
  for (let nth = 1; nth <= total; nth += 1) {
    const fileSystem = new FaultyFileSystem(nodeFileSystem);
    fileSystem.fail('EIO', { nth });
    const options = optionsFor(client, { fileSystem, force: true });
    writeFileSync(options.outputPath, 'precious');
    await assert.rejects(restoreDatabase(options), LitestreamError, recorder.calls[nth - 1]);
    const left = readdirSync(join(options.outputPath, '..'));
    assert.deepEqual(left, ['out.db'], recorder.calls[nth - 1]);
    const found = readFileSync(options.outputPath);
    if (found.toString() !== 'precious')
      assertSame(found, expected, `after a failing ${recorder.calls[nth - 1] ?? ''}`);
  }
});

test('RST-11 I3 whenever the process dies, the old database is there or the new one is complete, and the next restore succeeds', async () => {
  const { client, expected } = await smallReplica();
  const recorder = new FaultyFileSystem(nodeFileSystem);
  const first = optionsFor(client, { fileSystem: recorder, force: true });
  writeFileSync(first.outputPath, 'precious');
  await restoreDatabase(first);
  for (let nth = 1; nth <= recorder.calls.length; nth += 1) {
    const fileSystem = new FaultyFileSystem(nodeFileSystem);
    fileSystem.crash({ nth });
    const options = optionsFor(client, { fileSystem, force: true });
    writeFileSync(options.outputPath, 'precious');
    await assert.rejects(restoreDatabase(options));
    const found = readFileSync(options.outputPath);
    if (found.toString() !== 'precious')
      assertSame(found, expected, `killed in ${recorder.calls[nth - 1] ?? ''}`);
    await restoreDatabase({ ...options, fileSystem: nodeFileSystem });
    assertSame(readFileSync(options.outputPath), expected, 'the next restore');
    assert.deepEqual(readdirSync(join(options.outputPath, '..')), ['out.db']);
  }
});

test('says how much room the database needs before it writes', async () => {
  const { client } = await smallReplica();
  const fileSystem = { ...nodeFileSystem, freeBytes: () => Promise.resolve(100) };
  const error = await refused(client, { fileSystem });
  assert.equal(error.code, 'ERR_DISK_FULL');
  assert.match(
    error.message,
    /no space left on device: the database needs \d+ bytes, 100 are free/,
  );
});

test('RST-18 RST-20 checks the integrity of what it restored and removes what fails', async () => {
  const { client } = await smallReplica();
  const error = await refused(client, { integrityCheck: 'quick' });
  assert.equal(error.code, 'ERR_INTEGRITY');
  assert.match(error.message, /^post-restore integrity check: integrity check failed: /);
  const options = optionsFor(client, { integrityCheck: 'full', force: true });
  writeFileSync(options.outputPath, 'precious');
  await assert.rejects(restoreDatabase(options), { code: 'ERR_INTEGRITY' });
  assert.equal(readFileSync(options.outputPath, 'utf8'), 'precious');
  assert.deepEqual(readdirSync(join(options.outputPath, '..')), ['out.db']);
});

test('a sound database passes the integrity check and leaves no sidecars', async () => {
  const source = freshPath();
  const db = new DatabaseSync(source);
  db.exec(
    'PRAGMA page_size = 1024; PRAGMA journal_mode = wal; CREATE TABLE t (v); INSERT INTO t VALUES (1), (2)',
  );
  db.close();
  const bytes = readFileSync(source);
  const image = Array.from({ length: bytes.length / 1024 }, (_, at) =>
    bytes.subarray(at * 1024, (at + 1) * 1024),
  );
  const file: TestFile = { level: 0, min: 1, max: 1, commit: image.length, pages: pagesOf(image) };
  const client = await fill(new MemoryClient(), [file], 1024);
  for (const integrityCheck of ['quick', 'full'] as const) {
    assertSame(await restored(client, { integrityCheck }), bytes, integrityCheck);
  }
});

// --- reading ------------------------------------------------------------------------------------------------------

test('RST-26 lists each level once and reads each small file once', async () => {
  const history = makeHistory(21, 512, 9);
  const client = new FaultyClient(await fill(new MemoryClient(), history.files, 512));
  await restored(client);
  assert.equal(client.count('list'), 10);
  assert.equal(client.count('read'), 9);
});

test('RST-09 survives broken, short and refused reads', async () => {
  const history = makeHistory(22, 4096, 6);
  const expected = concat(history.images[5] ?? []);
  const client = new FaultyClient(await fill(new MemoryClient(), history.files, 4096));
  client.inject({ operation: 'read', kind: 'before', times: 3 });
  client.inject({ operation: 'read', kind: 'partial', amount: 700, nth: 4, times: 2 });
  client.inject({ operation: 'read', kind: 'truncate', amount: 300, nth: 7 });
  const clock = new FakeClock();
  const running = restored(client, { clock, parallelism: 1 });
  const stop = keepTicking(clock);
  assertSame(await running.finally(stop), expected, 'after faults');
});

/** Lets fake time pass while real work goes on. */
function keepTicking(clock: FakeClock): () => void {
  const timer = setInterval(() => void clock.advance(1000), 1);
  return () => clearInterval(timer);
}

test('gives up a store that stays down, with its message', async () => {
  const history = makeHistory(23, 512, 2);
  const client = new FaultyClient(await fill(new MemoryClient(), history.files, 512));
  client.inject({ operation: 'read', kind: 'before', times: 1000 });
  const clock = new FakeClock();
  const stop = keepTicking(clock);
  const error = await refused(client, { clock }).finally(stop);
  assert.match(
    error.message,
    /^max retries exceeded reading ltx file \(level=0, min=000000000000000[12], max=.*, offset=0\): injected fault/,
  );
});

test('RST-02 I4 never mistakes a failing listing for an empty replica', async () => {
  const client = new FaultyClient(new MemoryClient());
  client.inject({ operation: 'list', kind: 'before', nth: 4 });
  assert.equal((await refused(client)).code, 'ERR_STORAGE_TEMPORARY');
  client.inject({ operation: 'list', kind: 'before', nth: 10 });
  await assert.rejects(isEmptyReplica(client), { code: 'ERR_STORAGE_TEMPORARY' });
});

test('CMP-02 plans again when a planned file is gone', async () => {
  const history = makeHistory(24, 512, 6);
  const inner = await fill(new MemoryClient(), history.files, 512);
  let removed = false;
  const client: ReplicaClient = forwardingRead(inner, async () => {
    if (removed) return;
    removed = true;
    await putFile(inner, mergeFiles(history.files.slice(0, 4), 1), 512);
    const keys = [1, 2, 3, 4].map((n) => ({ level: 0, minTxid: toTxid(n), maxTxid: toTxid(n) }));
    await inner.delete(keys);
  });
  assertSame(await restored(client), concat(history.images[5] ?? []), 'after planning again');
});

test('a planned file that is gone for good ends the restore', async () => {
  const history = makeHistory(25, 512, 3);
  const inner = await fill(new MemoryClient(), history.files, 512);
  const client = forwardingRead(inner, () =>
    Promise.reject(new LitestreamError('ERR_STORAGE_NOT_FOUND', 'gone')),
  );
  assert.equal((await refused(client)).code, 'ERR_STORAGE_NOT_FOUND');
});

/** The client, with a step before each read. */
function forwardingRead(inner: ReplicaClient, before: () => Promise<void>): ReplicaClient {
  return {
    type: inner.type,
    location: inner.location,
    init: (options) => inner.init(options),
    list: (level, options) => inner.list(level, options),
    async *read(key, options) {
      await before();
      yield* inner.read(key, options);
    },
    write: (key, source, options) => inner.write(key, source, options),
    delete: (keys, options) => inner.delete(keys, options),
    deleteAll: (options) => inner.deleteAll(options),
    close: () => inner.close(),
  };
}

test('ends with nothing left when its signal fires', async () => {
  const history = makeHistory(26, 4096, 8);
  const client = new FaultyClient(await fill(new MemoryClient(), history.files, 4096));
  client.inject({ operation: 'read', kind: 'hang', nth: 3, times: 100 });
  const controller = new AbortController();
  const running = refused(client, { signal: controller.signal });
  setTimeout(() => controller.abort(), 20);
  assert.equal((await running).code, 'ERR_ABORTED');
});

test('RST-15 keeps few files open however long the plan is', async () => {
  const files: TestFile[] = [
    { level: 0, min: 1, max: 1, commit: 2, pages: pagesOf([page(1), page(2)]) },
  ];
  for (let n = 2; n <= 400; n += 1)
    files.push({ level: 0, min: n, max: n, commit: 2, pages: [{ pgno: 2, data: page(n % 256) }] });
  const client = await fill(await fileReplica(freshPath()), files, 512);
  let open = 0;
  let most = 0;
  const fileSystem = {
    ...nodeFileSystem,
    async open(...args: Parameters<typeof nodeFileSystem.open>) {
      const file = await nodeFileSystem.open(...args);
      open += 1;
      most = Math.max(most, open);
      const close = file.close.bind(file);
      file.close = async () => {
        open -= 1;
        await close();
      };
      return file;
    },
  };
  assertSame(await restored(client, { fileSystem }), concat([page(1), page(400 % 256)]), 'latest');
  assert.ok(most <= 10, `${most} files were open at once`);
  assert.equal(open, 0);
});

test('reports progress from plan to sync', async () => {
  const { client } = await smallReplica();
  const seen: RestoreProgress[] = [];
  await restored(client, { onProgress: (progress) => void seen.push(progress) });
  assert.deepEqual([...new Set(seen.map(({ phase }) => phase))], ['plan', 'fetch', 'sync']);
  const last = seen.at(-1);
  assert.equal(last?.bytesDone, last?.bytesTotal);
  assert.ok((last?.bytesTotal ?? 0) > 0);
});

test('tells empty replicas and time bounds', async () => {
  assert.equal(await isEmptyReplica(new MemoryClient()), true);
  assert.equal(
    await timeBounds(new ReplicaCatalog(new MemoryClient(), { timed: true })),
    undefined,
  );
  const { client } = await smallReplica();
  assert.equal(await isEmptyReplica(client), false);
  assert.deepEqual(await timeBounds(new ReplicaCatalog(client, { timed: true })), {
    oldestMs: 1000,
    newestMs: 4000,
  });
});
