import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { encodeLtxFile, toTxid, type LtxHeader } from '../formats/ltx/index.ts';
import { systemClock } from '../lib/clock.ts';
import { lockPgno } from '../lib/page.ts';
import { FakeClock } from '../testing/index.ts';
import { EncodePool, type LtxFileWriterOptions, type PageSource } from './index.ts';

function headerOf(fields: Partial<LtxHeader>): LtxHeader {
  return {
    flags: 2,
    pageSize: 4096,
    commit: 1,
    minTxid: toTxid(1),
    maxTxid: toTxid(2),
    timestampMs: 1,
    preApplyChecksum: 0n,
    walOffset: 0,
    walSize: 0,
    walSalt1: 0,
    walSalt2: 0,
    nodeId: 0n,
    ...fields,
  };
}

function page(size: number, pgno: number): Uint8Array {
  const bytes = new Uint8Array(size).fill(pgno);
  for (let at = 0; at < size; at += 13) bytes[at] = pgno * at;
  return bytes;
}

/** What is not in the file looks different. */
function changed(size: number, pgno: number): Uint8Array {
  return page(size, pgno).fill(255, 0, 8);
}

describe('EncodePool', () => {
  let folder: string;
  const open: number[] = [];

  before(() => {
    folder = fs.mkdtempSync(join(tmpdir(), 'litestream-encode-'));
  });
  after(() => {
    for (const descriptor of open) fs.closeSync(descriptor);
    fs.rmSync(folder, { recursive: true });
  });

  function fileOf(bytes: Uint8Array): number {
    const path = join(folder, String(open.length));
    fs.writeFileSync(path, bytes);
    open.push(fs.openSync(path, 'r'));
    return open.at(-1) ?? -1;
  }

  /** A source whose pages are all in a file, but for those that `captured` names. */
  function sourceOf(
    pageSize: number,
    commit: number,
    captured: (pgno: number) => boolean = () => false,
  ): PageSource & { readonly readHere: number[] } {
    const bytes = new Uint8Array(pageSize * commit);
    for (let pgno = 1; pgno <= commit; pgno++) {
      bytes.set(page(pageSize, pgno), (pgno - 1) * pageSize);
    }
    const descriptor = fileOf(bytes);
    const readHere: number[] = [];
    return {
      commit,
      readHere,
      descriptor: () => descriptor,
      isInFile: (pgno) => !captured(pgno),
      read(first, count, target) {
        for (let at = 0; at < count; at++) {
          const pgno = first + at;
          readHere.push(pgno);
          const data = captured(pgno) ? changed(pageSize, pgno) : page(pageSize, pgno);
          target.set(data, at * pageSize);
        }
      },
    };
  }

  interface Collected extends LtxFileWriterOptions {
    bytes(): Uint8Array;
  }

  function collect(header: LtxHeader): Collected {
    const pieces: Uint8Array[] = [];
    let size = 0;
    return {
      header,
      sink(bytes, position) {
        assert.equal(position, size);
        pieces.push(bytes.slice());
        size += bytes.length;
      },
      bytes: () => new Uint8Array(Buffer.concat(pieces)),
    };
  }

  function expected(
    header: LtxHeader,
    captured: (pgno: number) => boolean = () => false,
  ): Uint8Array {
    const { commit, pageSize } = header;
    const pages = Array.from({ length: commit }, (_, index) => {
      const pgno = index + 1;
      return { pgno, data: captured(pgno) ? changed(pageSize, pgno) : page(pageSize, pgno) };
    });
    return encodeLtxFile({ header, pages });
  }

  for (const threads of [1, 2]) {
    test(`writes the bytes of the plain encoder with ${threads === 1 ? 'no' : threads} threads`, async () => {
      const pool = new EncodePool(systemClock, { threads, smallestBytes: 0 });
      try {
        for (const [pageSize, commit, every] of [
          [4096, 1, 1],
          [4096, 256, 0],
          [4096, 257, 7],
          [4096, 2000, 3],
          [4096, 600, 1],
          [65536, 100, 2],
          [512, 5000, 1000],
        ] as const) {
          const captured = (pgno: number): boolean => every > 0 && pgno % every === 0;
          const source = sourceOf(pageSize, commit, captured);
          const file = collect(headerOf({ pageSize, commit }));
          const written = await pool.encode(file, source);
          assert.deepEqual(file.bytes(), expected(file.header, captured));
          assert.equal(written.pageCount, commit);
          if (threads > 1) assert.ok(source.readHere.every(captured), 'threads read the file');
        }
        assert.equal(pool.running, threads === 1 ? 0 : 2);
      } finally {
        await pool.close();
      }
    });
  }

  test('releases the source once, after the last page was read', async () => {
    for (const threads of [1, 2]) {
      const pool = new EncodePool(systemClock, { threads, smallestBytes: 0 });
      let released = 0;
      const source = { ...sourceOf(4096, 700), release: () => void released++ };
      await pool.encode(collect(headerOf({ commit: 700 })), source);
      assert.equal(released, 1);
      await pool.close();
    }
  });

  test('leaves the lock page out, also where the file ends before it', async () => {
    const pageSize = 65536;
    const lock = lockPgno(pageSize);
    const commit = lock + 2;
    const descriptor = fileOf(new Uint8Array());
    // Without blocks on the disk: pages of zeros.
    fs.truncateSync(join(folder, String(open.length - 1)), (lock - 1) * pageSize);
    const source: PageSource = {
      commit,
      descriptor: () => descriptor,
      isInFile: (pgno) => pgno < lock,
      read(first, count, target) {
        assert.ok(first > lock && count === 1, `page ${first}`);
        target.set(page(pageSize, first));
      },
    };
    const pool = new EncodePool(systemClock, { threads: 2, smallestBytes: 0 });
    const written = await pool.encode(
      { header: headerOf({ pageSize, commit }), sink: () => undefined, keepIndex: true },
      source,
    );
    await pool.close();
    assert.equal(written.pageCount, commit - 1);
    assert.deepEqual(
      [-1, 0, 1].map((offset) => written.index?.find(lock + offset)),
      [lock - 2, -1, lock - 1],
    );
  });

  test('keeps small files and a second large one on the calling thread', async () => {
    const pool = new EncodePool(systemClock, { threads: 2, smallestBytes: 1 << 20 });
    await pool.encode(collect(headerOf({ commit: 255 })), sourceOf(4096, 255));
    assert.equal(pool.running, 0);
    const files = [1, 2].map(() => collect(headerOf({ commit: 1000 })));
    const sources = [1, 2].map(() => sourceOf(4096, 1000));
    await Promise.all(
      files.map((file, at) => pool.encode(file, sources[at] ?? assert.fail('source'))),
    );
    assert.deepEqual(
      sources.map(({ readHere }) => readHere.length),
      [0, 1000],
    );
    assert.deepEqual(files[0]?.bytes(), files[1]?.bytes());
    await pool.close();
  });

  test('ends its threads after thirty idle seconds and starts them again', async () => {
    const clock = new FakeClock();
    const pool = new EncodePool(clock, { threads: 2, smallestBytes: 0 });
    for (let turn = 0; turn < 2; turn++) {
      await pool.encode(collect(headerOf({ commit: 600 })), sourceOf(4096, 600));
      assert.equal(pool.running, 2);
      await clock.advance(29_000);
      assert.equal(pool.running, 2);
      await clock.advance(2000);
      assert.equal(pool.running, 0);
    }
    await pool.close();
  });

  test('a thread that ends fails the file, and the next file gets a new one', async () => {
    const pool = new EncodePool(systemClock, { threads: 2, smallestBytes: 0 });
    let closing: Promise<void> | undefined;
    const file = collect(headerOf({ commit: 3000 }));
    const dying = {
      ...file,
      sink: (bytes: Uint8Array, position: number) => {
        if (bytes.length > 1000) closing ??= pool.close();
        return file.sink(bytes, position);
      },
    };
    await assert.rejects(pool.encode(dying, sourceOf(4096, 3000)), /encode thread ended/);
    await closing;
    const next = collect(headerOf({ commit: 600 }));
    await pool.encode(next, sourceOf(4096, 600));
    assert.deepEqual(next.bytes(), expected(next.header));
    await pool.close();
  });

  test('reads what a thread could not read itself, and tells what the source says', async () => {
    const pool = new EncodePool(systemClock, { threads: 2, smallestBytes: 0 });
    const empty = fileOf(new Uint8Array(4096 * 300));
    for (const descriptor of [empty, 1_000_000]) {
      const source = { ...sourceOf(4096, 900), descriptor: () => descriptor };
      const failing = { ...source, read: () => assert.fail('no such page') };
      const attempt = pool.encode(collect(headerOf({ commit: 900 })), failing);
      await assert.rejects(attempt, /no such page/);
      if (descriptor === empty) continue;
      const file = collect(headerOf({ commit: 900 }));
      await pool.encode(file, source);
      assert.deepEqual(file.bytes(), expected(file.header));
    }
    await pool.close();
  });

  test('trusts no page that was read while the file was closed', async () => {
    const pool = new EncodePool(systemClock, { threads: 2, smallestBytes: 0 });
    const source = sourceOf(4096, 3000);
    let asked = 0;
    const closing = {
      ...source,
      descriptor() {
        if (++asked > 6) throw new Error('file already closed');
        return source.descriptor();
      },
    };
    const file = collect(headerOf({ commit: 3000 }));
    await assert.rejects(pool.encode(file, closing), /file already closed/);
    await pool.close();
  });

  test('stops for a signal and for a sink that fails', async () => {
    for (const threads of [1, 2]) {
      const pool = new EncodePool(systemClock, { threads, smallestBytes: 0 });
      const header = headerOf({ commit: 3000 });
      const full = { header, sink: () => assert.fail('no space') };
      await assert.rejects(pool.encode(full, sourceOf(4096, 3000)), /no space/);
      const stop = new AbortController();
      const stopping = { header, sink: () => stop.abort() };
      await assert.rejects(pool.encode(stopping, sourceOf(4096, 3000), stop.signal), {
        code: 'ERR_ABORTED',
      });
      await pool.close();
    }
  });
});
