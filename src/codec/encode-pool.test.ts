import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { encodeLtxFile, toTxid, verifyLtxFile, type LtxHeader } from '../formats/ltx/index.ts';
import { systemClock } from '../lib/clock.ts';
import { lockPgno } from '../lib/page.ts';
import { FakeClock } from '../testing/index.ts';
import { EncodePool, type LtxPageWriter } from './index.ts';

function headerOf(fields: Partial<LtxHeader>): LtxHeader {
  return {
    flags: 2,
    pageSize: 4096,
    commit: 1,
    minTxid: toTxid(2),
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
  return new Uint8Array(size).map((_, index) => (index % 13 === 0 ? pgno * index : pgno));
}

/** Opens a writer that collects its file. */
function open(
  pool: EncodePool,
  header: LtxHeader,
  pageCount: number,
): { writer: LtxPageWriter; bytes: () => Uint8Array } {
  const pieces: Uint8Array[] = [];
  let size = 0;
  const sink = (bytes: Uint8Array, position: number): void => {
    assert.equal(position, size);
    pieces.push(bytes.slice());
    size += bytes.length;
  };
  const writer = pool.writer({ header, sink }, pageCount);
  return { writer, bytes: () => new Uint8Array(Buffer.concat(pieces)) };
}

async function addAll(writer: LtxPageWriter, pgnos: Iterable<number>, size: number): Promise<void> {
  for (const pgno of pgnos) {
    if (writer.needsFlush) await writer.flush();
    writer.slot().set(page(size, pgno));
    writer.add(pgno);
  }
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, index) => from + index);
}

describe('EncodePool', () => {
  test('writes the same bytes as one thread, for every chunk fill', async () => {
    const pool = new EncodePool(systemClock, { threads: 2, smallestBytes: 0 });
    try {
      for (const [pageSize, count] of [
        [4096, 0],
        [4096, 1],
        [4096, 256],
        [4096, 257],
        [4096, 2000],
        [65536, 100],
        [512, 5000],
      ] as const) {
        const header = headerOf({ pageSize, commit: count + 1 });
        const { writer, bytes } = open(pool, header, count);
        const pgnos = range(2, count + 2);
        await addAll(writer, pgnos, pageSize);
        const written = await writer.finish();
        const pages = pgnos.map((pgno) => ({ pgno, data: page(pageSize, pgno) }));
        assert.deepEqual(bytes(), encodeLtxFile({ header, pages }));
        assert.equal(written.pageCount, count);
        assert.equal(verifyLtxFile(bytes()).trailer.fileChecksum, written.fileChecksum);
      }
      assert.equal(pool.running, 2);
    } finally {
      await pool.close();
    }
  });

  test('rejects a page in the wrong order at once', async () => {
    const pool = new EncodePool(systemClock, { threads: 2, smallestBytes: 0 });
    const lock = lockPgno(65536);
    const { writer } = open(pool, headerOf({ pageSize: 65536, commit: lock + 1 }), 10);
    assert.throws(() => {
      writer.add(lock);
    }, /cannot encode lock page/);
    writer.discard();
    assert.equal(pool.running, 0);
    await pool.close();
  });

  test('keeps small files and a second large one on the calling thread', async () => {
    const pool = new EncodePool(systemClock, { threads: 2, smallestBytes: 1 << 20 });
    const header = headerOf({ commit: 1000 });
    const small = open(pool, header, 255);
    await addAll(small.writer, range(1, 256), 4096);
    await small.writer.finish();
    assert.equal(pool.running, 0);
    const first = open(pool, header, 1000);
    const second = open(pool, header, 1000);
    await addAll(second.writer, range(1, 1001), 4096);
    await second.writer.finish();
    assert.equal(pool.running, 0);
    await addAll(first.writer, range(1, 1001), 4096);
    await first.writer.finish();
    assert.equal(pool.running, 2);
    assert.deepEqual(first.bytes(), second.bytes());
    await pool.close();
  });

  test('one core means no threads', async () => {
    const pool = new EncodePool(systemClock, { threads: 1, smallestBytes: 0 });
    const { writer } = open(pool, headerOf({ commit: 600 }), 600);
    await addAll(writer, range(1, 601), 4096);
    await writer.finish();
    assert.equal(pool.running, 0);
  });

  test('ends its threads after thirty idle seconds and starts them again', async () => {
    const clock = new FakeClock();
    const pool = new EncodePool(clock, { threads: 2, smallestBytes: 0 });
    for (let turn = 0; turn < 2; turn++) {
      const { writer } = open(pool, headerOf({ commit: 600 }), 600);
      await addAll(writer, range(1, 601), 4096);
      await writer.finish();
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
    const failing = open(pool, headerOf({ commit: 2000 }), 2000);
    await addAll(failing.writer, range(1, 600), 4096);
    await pool.close();
    await assert.rejects(failing.writer.finish(), /encode thread ended/);
    failing.writer.discard();
    const { writer, bytes } = open(pool, headerOf({ commit: 2000 }), 2000);
    await addAll(writer, range(1, 600), 4096);
    await writer.finish();
    assert.equal(verifyLtxFile(bytes()).pageCount, 599);
    await pool.close();
  });
});
