import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import test, { after, describe } from 'node:test';
import { encodeLegacyObject } from '../formats/legacy/index.ts';
import { toTxid } from '../formats/ltx/index.ts';
import { present } from '../lib/assert.ts';
import { systemClock } from '../lib/clock.ts';
import { LitestreamError } from '../lib/errors.ts';
import { nodeFileSystem } from '../lib/file-system.ts';
import { resumableReads, type ReplicaClient } from '../storage/index.ts';
import { noopLogger } from '../telemetry/index.ts';
import { FaultyClient } from '../testing/faulty-client.ts';
import { FaultyFileSystem } from '../testing/faulty-file-system.ts';
import { FakeClock } from '../testing/fake-clock.ts';
import { MemoryClient } from '../testing/memory-client.ts';
import {
  isEmptyReplica,
  ReplicaCatalog,
  type RestoreOptions,
  restoreDatabase,
  timeBounds,
} from './index.ts';
import { putFile } from './test-replica.ts';

const folder = mkdtempSync(join(tmpdir(), 'legacy-'));
after(() => rmSync(folder, { recursive: true }));

let counter = 0;
function freshFolder(): string {
  counter += 1;
  const path = join(folder, String(counter));
  mkdirSync(path);
  return path;
}

function write(
  body: (writer: LegacyWriter) => unknown,
  options: ConstructorParameters<typeof LegacyWriter>[1] = {},
): readonly TestObject[] {
  const writer = new LegacyWriter(join(freshFolder(), 'app.db'), options);
  body(writer);
  writer.close();
  return writer.objects;
}

/** One object of a v0.3.x replica, and the rows that a restore up to and including it gives. */
interface TestObject {
  readonly key: string;
  readonly bytes: Uint8Array;
  /** Not compressed. */
  readonly content: Uint8Array;
  readonly rows: number;
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, '0');
}

interface LegacyWriterOptions {
  readonly generation?: string;
  /** First index. Default 0. */
  readonly index?: number;
  readonly pageSize?: number;
}

/** A real database in WAL mode whose snapshots and WALs become the objects of one generation. */
class LegacyWriter {
  readonly objects: TestObject[] = [];
  readonly generation: string;
  readonly #path: string;
  readonly #db: DatabaseSync;
  #index: number;
  #offset = 0;

  constructor(path: string, options: LegacyWriterOptions = {}) {
    const { generation = '00000000000000aa', index = 0, pageSize = 512 } = options;
    this.generation = generation;
    this.#path = path;
    this.#index = index;
    this.#db = new DatabaseSync(path);
    this.#db.exec(`PRAGMA page_size = ${pageSize}; PRAGMA journal_mode = wal`);
    this.#db.exec('PRAGMA synchronous = off; PRAGMA wal_autocheckpoint = 0');
    this.#db.exec('CREATE TABLE t (k INTEGER PRIMARY KEY, v BLOB)');
    this.nextIndex(false);
  }

  /** The state at the start of the current WAL. */
  snapshot(): this {
    const name = `snapshots/${hex(this.#index, 8)}.snapshot.lz4`;
    this.#put(name, readFileSync(this.#path));
    return this;
  }

  /** Inserts rows and adds what the WAL has grown by. */
  write(rows: number, size = 60): this {
    this.#db.exec(`INSERT INTO t (v) WITH RECURSIVE n (i) AS
      (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${rows}) SELECT randomblob(${size}) FROM n`);
    const wal = readFileSync(`${this.#path}-wal`);
    const name = `wal/${hex(this.#index, 8)}_${hex(this.#offset, 8)}.wal.lz4`;
    this.#put(name, wal.subarray(this.#offset));
    this.#offset = wal.length;
    return this;
  }

  delete(from: number): this {
    this.#db.exec(`DELETE FROM t WHERE k >= ${from}; VACUUM`);
    return this;
  }

  /** Moves the WAL into the database; the next one is new. */
  nextIndex(count = true): this {
    this.#db.exec('PRAGMA wal_checkpoint(TRUNCATE)');
    if (count) this.#index += 1;
    this.#offset = 0;
    return this;
  }

  close(): void {
    this.#db.close();
    rmSync(this.#path);
  }

  #put(name: string, bytes: Uint8Array): void {
    this.objects.push({
      key: `generations/${this.generation}/${name}`,
      bytes: encodeLegacyObject(bytes),
      content: Uint8Array.from(bytes),
      rows: Number(this.#db.prepare('SELECT count(*) AS n FROM t').get()?.['n']),
    });
  }
}

/** Stores objects with ascending times. */
function putObjects(
  client: MemoryClient,
  objects: readonly TestObject[],
  times: { readonly startMs?: number; readonly stepMs?: number } = {},
): void {
  const { startMs = 1000, stepMs = 1000 } = times;
  for (const [n, { key, bytes }] of objects.entries()) {
    client.putObject(key, bytes, startMs + n * stepMs);
  }
}

function replica(objects: readonly TestObject[], times = {}): MemoryClient {
  const client = new MemoryClient();
  putObjects(client, objects, times);
  return client;
}

function without(client: MemoryClient, end: string): MemoryClient {
  const key = [...client.store.keys()].find((each) => each.endsWith(end));
  assert.ok(key !== undefined && client.store.delete(key), end);
  return client;
}

function optionsFor(client: ReplicaClient, more: Partial<RestoreOptions> = {}): RestoreOptions {
  return {
    client,
    outputPath: join(freshFolder(), 'out.db'),
    target: {},
    fileSystem: nodeFileSystem,
    clock: systemClock,
    logger: noopLogger,
    ...more,
  };
}

function countRows(path: string): number {
  const db = new DatabaseSync(path);
  try {
    assert.equal(db.prepare('PRAGMA integrity_check').get()?.['integrity_check'], 'ok');
    return Number(db.prepare('SELECT count(*) AS n FROM t').get()?.['n']);
  } finally {
    db.close();
  }
}

/** Restores; nothing but the output is there. Returns its rows. */
async function restored(
  client: ReplicaClient,
  more: Partial<RestoreOptions> = {},
): Promise<number> {
  const options = optionsFor(client, more);
  const result = await restoreDatabase(options);
  const parent = join(options.outputPath, '..');
  assert.deepEqual(readdirSync(parent), ['out.db']);
  assert.equal(readFileSync(options.outputPath).length, result.bytesWritten);
  return countRows(options.outputPath);
}

/** Fails, and leaves nothing. */
async function refused(
  client: ReplicaClient,
  more: Partial<RestoreOptions> = {},
): Promise<LitestreamError> {
  const options = optionsFor(client, more);
  let failure: unknown;
  try {
    await restoreDatabase(options);
  } catch (error) {
    failure = error;
  }
  assert.ok(failure instanceof LitestreamError, String(failure));
  assert.deepEqual(readdirSync(join(options.outputPath, '..')), []);
  return failure;
}

/** Three WALs with two or three segments each, a snapshot before the first and the second. */
const history = write((writer) =>
  writer
    .snapshot()
    .write(5)
    .write(30)
    .write(3)
    .nextIndex()
    .snapshot()
    .write(4)
    .write(2)
    .nextIndex()
    .write(1)
    .write(50),
);
const lastRows = history.at(-1)?.rows ?? 0;

describe('v0.3.x data', () => {
  test('RST-07 is restored to the last segment', async () => {
    assert.equal(await restored(replica(history)), lastRows);
    assert.equal(lastRows, 95);
  });

  test('RST-07 is restored to every point in time', async () => {
    const client = replica(history);
    for (const [n, { key, rows }] of history.entries()) {
      const timestampMs = 1000 + n * 1000;
      // The second snapshot is older than its place in the row tells: the state is the same.
      assert.equal(await restored(client, { target: { timestampMs } }), rows, key);
      assert.equal(await restored(client, { target: { timestampMs: timestampMs + 999 } }), rows);
    }
    const error = await refused(client, { target: { timestampMs: 999 } });
    assert.equal(error.code, 'ERR_NO_SNAPSHOTS');
    assert.equal(error.message, 'no snapshots available');
  });

  test('may be a snapshot alone, begin at any index, and hold a whole WAL per transaction', async () => {
    assert.equal(await restored(replica(write((writer) => writer.snapshot()))), 0);
    const objects = write(
      (writer) => {
        writer.snapshot();
        for (let n = 0; n < 5; n++) writer.write(7).nextIndex();
      },
      { index: 0x7ffffff0 },
    );
    assert.equal(await restored(replica(objects)), 35);
  });

  test('may shrink, and have short WALs behind long ones', async () => {
    const objects = write((writer) =>
      writer.snapshot().write(900, 200).nextIndex().delete(10).write(1).nextIndex().write(2),
    );
    const options = optionsFor(replica(objects));
    const { bytesWritten } = await restoreDatabase(options);
    assert.equal(countRows(options.outputPath), 12);
    assert.ok(bytesWritten < 20_000, String(bytesWritten));
  });

  for (const pageSize of [1024, 4096, 65536]) {
    test(`of ${pageSize} byte pages and several MiB is restored`, async () => {
      const objects = write(
        (writer) => writer.write(900, 10_000).nextIndex().snapshot().write(300, 10_000).write(1),
        { pageSize },
      ).filter(({ key }) => key.includes('snapshot') || key.includes('00000001_'));
      assert.ok(objects.some(({ bytes }) => bytes.length > 8_000_000));
      assert.equal(await restored(replica(objects)), 1201);
    });
  }

  test('RST-05 is read through names with more digits', async () => {
    const longer = history.map((object) => ({
      ...object,
      key: object.key.replace(/_([0-9a-f]{8})\./, '_0000$1.'),
    }));
    assert.equal(await restored(replica(longer)), lastRows);
    const mixed = history.map((object, n) => ({
      ...object,
      key: n % 2 === 0 ? object.key : object.key.replace(/_([0-9a-f]{8})\./, '_00000000$1.'),
    }));
    assert.equal(await restored(replica(mixed)), lastRows);
  });

  test('is found among other names', async () => {
    const client = replica(history);
    client.putObject(
      'generations/00000000000000aa/wal/00000009_00000000.wal.lz4.tmp',
      Buffer.of(1),
      9e9,
    );
    client.putObject('generations/x/snapshots/00000000.snapshot.lz4', Buffer.of(1), 9e9);
    assert.equal(await restored(client), lastRows);
  });

  test('tells its bounds and that the replica is not empty', async () => {
    assert.deepEqual(await timeBounds(new ReplicaCatalog(replica(history), { timed: true })), {
      oldestMs: 1000,
      newestMs: 9000,
    });
    assert.equal(await isEmptyReplica(replica(history)), false);
    const error = new LitestreamError('ERR_STORAGE_DENIED', 'denied');
    const faulty = new FaultyClient(new MemoryClient());
    faulty.inject({ operation: 'listObjects', kind: 'before', error });
    await assert.rejects(isEmptyReplica(faulty), { message: 'list generations: denied' });
    faulty.inject({ operation: 'listObjects', kind: 'before', error });
    assert.equal((await refused(faulty)).message, 'list generations: denied');
  });
});

describe('holes in v0.3.x data', () => {
  const cases: readonly (readonly [string, string, RegExp])[] = [
    [
      'the first segment',
      '00000001_00000000.wal.lz4',
      /missing WAL segment: expected 1\/0, got 1\/\d+$/,
    ],
    ['a whole WAL', '', /missing WAL index: expected 1\/0, got 2\/0$/],
  ];
  for (const [what, name, message] of cases) {
    test(`RST-05 I8 ${what} is missed before anything is read`, async () => {
      const objects = history.filter(({ key }) =>
        name === '' ? !key.includes('/00000001_') : !key.endsWith(name),
      );
      const faulty = new FaultyClient(replica(objects));
      const error = await refused(faulty);
      assert.equal(error.code, 'ERR_TX_GAP');
      assert.match(error.message, message);
      assert.equal(faulty.count('readObject'), 0);
    });
  }

  test('RST-05 I8 a segment in the middle is missed and named', async () => {
    const [, , middle, next] = history;
    const objects = write((writer) => writer.snapshot().write(5).write(30).write(3));
    const [, first, second, third] = objects;
    assert.ok(first && second && third && middle && next);
    const from = parseInt(/_([0-9a-f]+)/.exec(second.key)?.[1] ?? '', 16);
    const to = parseInt(/_([0-9a-f]+)/.exec(third.key)?.[1] ?? '', 16);
    const error = await refused(without(replica(objects), second.key));
    assert.equal(
      error.message,
      `apply WAL segments: missing WAL segment: expected 0/${from}, got 0/${to}`,
    );
    assert.equal(error.code, 'ERR_TX_GAP');
  });

  test('RST-05 the last segment is not missed', async () => {
    const last = history.at(-1)?.key ?? '';
    assert.equal(await restored(without(replica(history), last)), history.at(-2)?.rows);
  });

  test('segments without a snapshot are no backup', async () => {
    const objects = history.filter(({ key }) => !key.includes('snapshot'));
    const error = await refused(replica(objects));
    assert.equal(error.message, 'no snapshots available');
  });
});

describe('damaged v0.3.x data', () => {
  function replace(end: string, change: (bytes: Uint8Array) => Uint8Array): MemoryClient {
    const objects = history.map((object) =>
      object.key.endsWith(end) ? { ...object, bytes: change(object.bytes) } : object,
    );
    return replica(objects);
  }
  const flip = (bytes: Uint8Array): Uint8Array => {
    const copy = bytes.slice();
    copy[20] = (copy[20] ?? 0) ^ 1;
    return copy;
  };
  const segment = '00000001_00000000.wal.lz4';
  const SNAPSHOT = /^download snapshot: generations\/00000000000000aa\/snapshots\/00000001/;
  const SEGMENT = /^apply WAL segments: write WAL segment 1\/0: /;

  test('is refused and named', async () => {
    for (const change of [flip, (bytes: Uint8Array) => bytes.subarray(0, -3), () => Buffer.of()]) {
      let error = await refused(replace('00000001.snapshot.lz4', change));
      assert.match(error.message, SNAPSHOT);
      assert.equal(error.code, 'ERR_LZ4');
      error = await refused(replace(segment, change));
      assert.match(error.message, SEGMENT);
      // What comes out of a block is looked at before the end of its frame.
      assert.ok(error.code === 'ERR_LZ4' || error.code === 'ERR_WAL_FORMAT', error.code);
    }
  });

  test('RST-07 is refused if it is encrypted', async () => {
    const age = Buffer.from('age-encryption.org/v1\n-> X25519 and so on');
    const error = await refused(replace('00000001.snapshot.lz4', () => age));
    assert.match(error.message, /encrypted with age/);
    assert.ok(error.hint !== undefined);
  });

  test('is refused if a snapshot is no database in WAL mode', async () => {
    const text = encodeLegacyObject(Buffer.from('no database '.repeat(100)));
    let error = await refused(replace('00000001.snapshot.lz4', () => text));
    assert.match(error.message, /snapshot is no SQLite database$/);
    const path = join(freshFolder(), 'plain.db');
    const db = new DatabaseSync(path);
    db.exec('CREATE TABLE t (k)');
    db.close();
    const plain = readFileSync(path);
    error = await refused(replace('00000001.snapshot.lz4', () => encodeLegacyObject(plain)));
    assert.match(error.message, /snapshot is not in WAL mode$/);
    error = await refused(
      replace('00000001.snapshot.lz4', () => encodeLegacyObject(plain.subarray(0, 5000))),
    );
    assert.match(error.message, /no whole pages of 4096$/);
    assert.equal(error.code, 'ERR_DB_INVALID');
  });

  test('I8 is refused if a segment belongs to another WAL: SQLite would stop there and say nothing', async () => {
    const other = write((writer) => writer.snapshot().write(5).write(30).write(3));
    const client = replica(write((writer) => writer.snapshot().write(5).write(30).write(3)));
    const [, , second] = other;
    assert.ok(second !== undefined);
    client.putObject(second.key, second.bytes, 3000);
    const error = await refused(client);
    assert.equal(error.code, 'ERR_WAL_FORMAT');
    assert.match(
      error.message,
      /^apply WAL segments: .*invalid WAL 0 \(frame at byte \d+: expected/,
    );
  });

  test('is refused if a WAL has no header, another page size or half a frame', async () => {
    const wal = (bytes: Uint8Array): MemoryClient =>
      replace(segment, () => encodeLegacyObject(bytes));
    assert.match(
      (await refused(wal(new Uint8Array(3000)))).message,
      /invalid WAL 1 \(header at byte 0/,
    );
    const larger = write((writer) => writer.write(1), { pageSize: 1024 })[0];
    assert.ok(larger !== undefined);
    const error = await refused(replace(segment, () => larger.bytes));
    assert.match(error.message, /page size at byte 8: expected 512, found 1024/);
    const last = history.at(-1);
    assert.ok(last !== undefined);
    const half = encodeLegacyObject(last.content.subarray(0, -100));
    const cut = await refused(replace(last.key, () => half));
    assert.match(cut.message, /^apply WAL segments: invalid WAL 2 \(size at byte \d+: expected/);
  });
});

describe('RST-06 generations', () => {
  const A = '00000000000000aa';
  const B = 'bbbbbbbbbbbbbbbb';
  const C = '0c0c0c0c0c0c0c0c';
  const make = (generation: string, rows: number): readonly TestObject[] =>
    write((writer) => writer.snapshot().write(rows).write(1), { generation });
  const generations = { a: make(A, 10), b: make(B, 20), c: make(C, 40) };

  /** Times of the three objects (snapshot and two segments) of each generation, a target, and the rows expected. */
  const table: readonly (readonly [
    string,
    Record<string, readonly number[]>,
    number | undefined,
    number,
  ])[] = [
    ['names do not matter: a newest', { a: [7, 8, 9], b: [1, 2, 3], c: [4, 5, 6] }, undefined, 11],
    ['names do not matter: b newest', { a: [1, 2, 3], b: [7, 8, 9], c: [4, 5, 6] }, undefined, 21],
    ['names do not matter: c newest', { a: [4, 5, 6], b: [1, 2, 3], c: [7, 8, 9] }, undefined, 41],
    [
      'the newest data counts, not the newest snapshot',
      { a: [1, 2, 9], b: [3, 4, 5] },
      undefined,
      11,
    ],
    ['a time leaves the generation of that time', { a: [1, 2, 3], b: [7, 8, 9] }, 6, 11],
    ['a time within a generation', { a: [1, 2, 3], b: [7, 8, 9] }, 8, 20],
    ['a time that leaves a snapshot alone', { a: [1, 2, 3], b: [7, 8, 9] }, 7, 0],
    ['overlapping generations before a time', { a: [1, 2, 9], b: [3, 4, 5] }, 6, 21],
    ['fractions of a millisecond', { a: [1, 2, 3.5], b: [7, 8, 9] }, 3, 10],
  ];
  for (const [what, times, timestampMs, rows] of table) {
    test(what, async () => {
      const client = new MemoryClient();
      for (const [name, objects] of Object.entries(generations)) {
        for (const [n, { key, bytes }] of objects.entries()) {
          const time = times[name]?.[n];
          if (time !== undefined) client.putObject(key, bytes, time);
        }
      }
      const options = optionsFor(client, { target: { timestampMs } });
      await restoreDatabase(options);
      assert.equal(countRows(options.outputPath), rows);
    });
  }
});

describe('RST-06 both layouts below one path', () => {
  const legacy = write((writer) => writer.snapshot().write(10));

  /** A database of one page without rows stands for the LTX files. */
  async function both(ltxMs: number, legacyMs: number, level = 0): Promise<MemoryClient> {
    const path = join(freshFolder(), 'ltx.db');
    const db = new DatabaseSync(path);
    db.exec('PRAGMA page_size = 512; CREATE TABLE t (k)');
    db.close();
    const image = readFileSync(path);
    const pages = [0, 1].map((n) => ({
      pgno: n + 1,
      data: new Uint8Array(image.subarray(n * 512, n * 512 + 512)),
    }));
    const client = new MemoryClient();
    await putFile(client, { level, min: 1, max: 1, commit: 2, pages, timestampMs: ltxMs }, 512);
    putObjects(client, legacy, { startMs: legacyMs, stepMs: 0 });
    return client;
  }

  const table: readonly (readonly [
    string,
    number,
    number,
    number | undefined,
    'ltx' | 'legacy',
  ])[] = [
    ['the newer one: LTX', 2000, 1000, undefined, 'ltx'],
    ['the newer one: v0.3.x', 1000, 2000, undefined, 'legacy'],
    ['LTX, if both are of one time', 2000, 2000, undefined, 'ltx'],
    ['v0.3.x, if a fraction newer', 2000, 2000.25, undefined, 'legacy'],
    ['the one that a time leaves: v0.3.x', 2000, 1000, 1500, 'legacy'],
    ['the one that a time leaves: LTX', 1000, 2000, 1500, 'ltx'],
    ['LTX before a time that excludes neither', 2000, 1000, 3000, 'ltx'],
    ['v0.3.x before a time that excludes neither', 1000, 2000, 3000, 'legacy'],
    ['v0.3.x at the very time, where LTX has to be older', 2000, 2000, 2000, 'legacy'],
  ];
  for (const level of [0, 9]) {
    for (const [what, ltxMs, legacyMs, timestampMs, expected] of table) {
      test(`give ${what} (LTX level ${level})`, async () => {
        const client = await both(ltxMs, legacyMs, level);
        const lines: string[] = [];
        const logger = {
          ...noopLogger,
          log: (severity: string, text: string) => lines.push(`${severity} ${text}`),
        };
        const options = optionsFor(client, { target: { timestampMs }, logger });
        const result = await restoreDatabase(options);
        assert.equal(result.legacy === undefined ? 'ltx' : 'legacy', expected);
        assert.equal(countRows(options.outputPath), expected === 'ltx' ? 0 : 10);
        assert.deepEqual(lines, expected === 'ltx' ? [] : ['info restoring v0.3.x data']);
      });
    }
  }

  test('give LTX for a TXID and for a follower', async () => {
    const client = await both(1000, 2000);
    assert.equal(await restored(client, { target: { txid: toTxid(1n) } }), 0);
    assert.equal(await restored(client, { rollbackMode: true }), 0);
  });

  test('give v0.3.x data where the LTX files before a time cannot be restored', async () => {
    const client = await both(1000, 500);
    for (const key of client.store.keys()) if (key.startsWith('ltx/')) client.store.delete(key);
    const page = { pgno: 1, data: new Uint8Array(512) };
    await putFile(
      client,
      { level: 0, min: 5, max: 5, commit: 1, pages: [page], timestampMs: 800 },
      512,
    );
    assert.equal(await restored(client, { target: { timestampMs: 900 } }), 10);
    assert.equal((await refused(client)).code, 'ERR_TX_GAP');
  });

  test('give the error of LTX for a time before everything', async () => {
    const client = await both(1000, 2000);
    const error = await refused(client, { target: { timestampMs: 500 } });
    assert.equal(error.code, 'ERR_TX_NOT_AVAILABLE');
  });
});

describe('a v0.3.x restore that does not go well', () => {
  test('goes on where a stream broke off, as long as anything arrives', async () => {
    const faulty = new FaultyClient(replica(history));
    for (const kind of ['before', 'partial', 'truncate'] as const) {
      faulty.inject({ operation: 'readObject', kind, amount: 11, nth: 2, times: 3 });
    }
    const clock = new FakeClock();
    const stop = new AbortController();
    const work = restored(faulty, { clock });
    const drive = async (): Promise<void> => {
      while (!stop.signal.aborted) await clock.advance(1000);
    };
    const driven = drive();
    try {
      assert.equal(await work, lastRows);
    } finally {
      stop.abort();
      await driven;
    }
  });

  test('gives up with the name of the object', async () => {
    const faulty = new FaultyClient(replica(history));
    const error = new LitestreamError('ERR_STORAGE_DENIED', 'denied');
    faulty.inject({ operation: 'readObject', kind: 'before', error });
    assert.equal((await refused(faulty)).message, 'download snapshot: denied');
  });

  test('plans again if retention has removed what it wanted to read', async () => {
    const memory = replica(history);
    const client = resumableReads(memory, { clock: systemClock });
    let calls = 0;
    const vanishing: ReplicaClient = {
      ...client,
      readObject(object, options) {
        calls += 1;
        if (calls === 3) memory.store.clear();
        if (calls === 3)
          putObjects(
            memory,
            write((writer) => writer.snapshot().write(3)),
          );
        return present(client.readObject?.(object, options), 'stream');
      },
    };
    assert.equal(await restored(vanishing, { parallelism: 1 }), 3);
  });

  test('RST-11 leaves nothing, wherever the file system fails', async () => {
    const objects = write((writer) => writer.snapshot().write(3).write(2).nextIndex().write(1));
    const fileSystem = new FaultyFileSystem(nodeFileSystem);
    await restored(replica(objects), { fileSystem });
    const labels = [...fileSystem.calls];
    assert.ok(labels.includes('restore:create-wal') && labels.includes('restore:write-wal'));
    for (const [n, label] of labels.entries()) {
      if (label === 'restore:sync-folder') continue;
      fileSystem.reset();
      fileSystem.fail('EIO', { nth: n + 1 });
      const options = optionsFor(replica(objects), { fileSystem });
      await assert.rejects(restoreDatabase(options), LitestreamError, `${n} ${label}`);
      const left = readdirSync(join(options.outputPath, '..'));
      assert.deepEqual(left, [], `${n} ${label}`);
    }
  });

  test('RST-11 wherever the process dies, nothing or the whole has the name, and the next one succeeds', async () => {
    const objects = write((writer) => writer.snapshot().write(3).write(2).nextIndex().write(1));
    const fileSystem = new FaultyFileSystem(nodeFileSystem);
    const rows = await restored(replica(objects), { fileSystem });
    for (let nth = 1, { length } = fileSystem.calls; nth <= length; nth += 1) {
      for (const after of [false, true]) {
        fileSystem.reset();
        fileSystem.crash({ nth, after });
        const options = optionsFor(replica(objects), { fileSystem });
        await assert.rejects(restoreDatabase(options));
        const left = readdirSync(join(options.outputPath, '..'));
        if (left.includes('out.db')) assert.equal(countRows(options.outputPath), rows);
        const again = { ...options, fileSystem: nodeFileSystem, force: true };
        await restoreDatabase(again);
        assert.equal(countRows(options.outputPath), rows);
        assert.deepEqual(readdirSync(join(options.outputPath, '..')), ['out.db']);
      }
    }
  });

  test('leaves nothing if it is aborted at any point', async () => {
    let total = 0;
    const onProgress = (): void => {
      total += 1;
    };
    await restored(replica(history), { onProgress });
    assert.ok(total > 5);
    for (let n = 0; n < total; n++) {
      const stop = new AbortController();
      let events = 0;
      const error = await refused(replica(history), {
        signal: stop.signal,
        onProgress: () => {
          events += 1;
          if (events > n) stop.abort();
        },
      });
      assert.equal(error.code, 'ERR_ABORTED', `${n}`);
    }
  });

  test('RST-11 removes what a killed one has left: SQLite would apply it', async () => {
    const options = optionsFor(replica(history), { integrityCheck: 'full' });
    for (const end of ['.tmp', '.tmp-wal', '.tmp-shm', '.tmp-journal']) {
      writeFileSync(`${options.outputPath}${end}`, 'left over');
    }
    await restoreDatabase(options);
    assert.deepEqual(readdirSync(join(options.outputPath, '..')), ['out.db']);
    assert.equal(countRows(options.outputPath), lastRows);
  });

  test('touches an existing file last', async () => {
    const options = optionsFor(replica(history), { force: true, integrityCheck: 'full' });
    writeFileSync(options.outputPath, 'before');
    const broken = history.map((object, n) =>
      n === 8 ? { ...object, bytes: Buffer.of(1) } : object,
    );
    await assert.rejects(restoreDatabase({ ...options, client: replica(broken) }));
    assert.equal(readFileSync(options.outputPath, 'utf8'), 'before');
    assert.ok(!existsSync(`${options.outputPath}.tmp-wal`));
    await restoreDatabase(options);
    assert.equal(countRows(options.outputPath), lastRows);
  });
});
