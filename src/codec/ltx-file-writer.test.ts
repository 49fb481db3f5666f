import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  decodeLtxFile,
  decodePageIndex,
  encodeLtxFile,
  locatePageIndex,
  LTX_NO_CHECKSUM,
  toTxid,
  verifyLtxFile,
  type LtxHeader,
  type LtxPage,
} from '../formats/ltx/index.ts';
import { createKernel } from '../kernels/index.ts';
import { lockPgno } from '../lib/page.ts';
import { LtxFileWriter, writerArenaBytes, type LtxFileWriterOptions } from './index.ts';

const MANY_PAGES = process.env['SLOW'] === '1' ? 2 ** 24 + 1000 : 2 ** 18;
const RUNS = process.env['SLOW'] === '1' ? 1000 : 60;

function headerOf(fields: Partial<LtxHeader>): LtxHeader {
  return {
    flags: LTX_NO_CHECKSUM,
    pageSize: 512,
    commit: 1,
    minTxid: toTxid(2),
    maxTxid: toTxid(2),
    timestampMs: 1735689600123,
    preApplyChecksum: 0n,
    walOffset: 0,
    walSize: 0,
    walSalt1: 0,
    walSalt2: 0,
    nodeId: 0n,
    ...fields,
  };
}

/** Collects a file and checks that positions are continuous. */
class Collector {
  readonly pieces: Uint8Array[] = [];
  size = 0;

  readonly sink = (bytes: Uint8Array, position: number): void => {
    assert.equal(position, this.size);
    this.pieces.push(bytes.slice());
    this.size += bytes.length;
  };

  get bytes(): Uint8Array {
    return Buffer.concat(this.pieces);
  }
}

async function write(
  header: LtxHeader,
  pages: Iterable<LtxPage>,
  options: Partial<LtxFileWriterOptions> & { postApplyChecksum?: bigint } = {},
): Promise<Collector> {
  const file = new Collector();
  const { postApplyChecksum, ...rest } = options;
  const writer = new LtxFileWriter({ header, sink: file.sink, ...rest });
  for (const { pgno, data } of pages) {
    if (writer.needsFlush) await writer.flush();
    writer.slot().set(data);
    writer.add(pgno);
  }
  const written = await writer.finish(postApplyChecksum);
  assert.equal(written.size, file.size);
  const summary = verifyLtxFile(file.bytes);
  assert.equal(written.fileChecksum, summary.trailer.fileChecksum);
  assert.equal(written.pageCount, summary.pageCount);
  return file;
}

function page(size: number, seed: number): Uint8Array {
  return new Uint8Array(size).map((_, index) => (index % 7 === 0 ? seed + index * seed : seed));
}

describe('LtxFileWriter', () => {
  for (const name of ['a', 'b', 'c', 'd-compacted', 'f', 'deletion']) {
    test(`writes the pages of the reference's file ${name} so that they read back`, async () => {
      const reference = decodeLtxFile(
        readFileSync(new URL(`../../test/vectors/ltx/${name}.ltx`, import.meta.url)),
      );
      const { postApplyChecksum } = reference.trailer;
      const file = await write(reference.header, reference.pages, { postApplyChecksum });
      const back = decodeLtxFile(file.bytes);
      assert.deepEqual(back.header, reference.header);
      assert.deepEqual(back.pages, reference.pages);
      assert.equal(back.trailer.postApplyChecksum, postApplyChecksum);
    });
  }

  test('writes the same bytes as the page-level encoder', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(512, 1024, 4096, 65536),
        fc.uniqueArray(fc.integer({ min: 1, max: 5000 }), { maxLength: 60 }),
        fc.integer({ min: 1, max: 50_000 }),
        async (pageSize, pgnos, chunkBytes) => {
          const header = headerOf({ pageSize, commit: 5000 });
          const pages = pgnos
            .sort((a, b) => a - b)
            .map((pgno) => ({ pgno, data: page(pageSize, pgno) }));
          const file = await write(header, pages, { chunkBytes });
          assert.deepEqual(new Uint8Array(file.bytes), encodeLtxFile({ header, pages }));
        },
      ),
      { numRuns: RUNS },
    );
  });

  test('hands a small file to the sink in one piece', async () => {
    const header = headerOf({ commit: 9 });
    const file = await write(header, [
      { pgno: 2, data: page(512, 2) },
      { pgno: 9, data: page(512, 9) },
    ]);
    assert.equal(file.pieces.length, 1);
  });

  test('writes runs of adjacent pages, passes over the lock page, and collects chunks', async () => {
    const pageSize = 65536;
    const lock = lockPgno(pageSize);
    const file = new Collector();
    const header = headerOf({ pageSize, commit: lock + 3 });
    const writer = new LtxFileWriter({ header, sink: file.sink, keepIndex: true, chunkBytes: 1 });
    for (let slot = 0; slot < 4; slot++) writer.slot(slot).set(page(pageSize, 40 + slot));
    await writer.writeRun(lock - 2, 4);
    const { index } = await writer.finish();
    const back = decodeLtxFile(file.bytes);
    assert.deepEqual(
      back.pages.map(({ pgno, data }) => [pgno, data[1]]),
      [
        [lock - 2, 40],
        [lock - 1, 41],
        [lock + 1, 43],
      ],
    );
    const { offset, length } = locatePageIndex(file.bytes, file.size);
    const stored = decodePageIndex(file.bytes.subarray(offset, offset + length), offset);
    assert.deepEqual(index, stored);
  });

  test('writes a snapshot whose index is larger than a chunk', async () => {
    const commit = 30_000;
    const file = new Collector();
    const header = headerOf({ commit, minTxid: toTxid(1) });
    const writer = new LtxFileWriter({ header, sink: file.sink, chunkBytes: 4096 });
    for (let pgno = 1; pgno <= commit; pgno += writer.slots) {
      await writer.writeRun(pgno, Math.min(writer.slots, commit - pgno + 1));
    }
    await writer.finish();
    assert.equal(verifyLtxFile(file.bytes).pageCount, commit);
    assert.ok(file.pieces.every((piece) => piece.length < 4096 + 600));
  });

  test('rejects pages in the wrong order with the words of the reference', async () => {
    const lock = lockPgno(65536);
    const cases: readonly (readonly [Partial<LtxHeader>, readonly number[], RegExp])[] = [
      [{ commit: 5 }, [6], /page number 6 out-of-bounds for commit size 5/],
      [{ commit: 5 }, [0], /page number required/],
      [{ commit: 5 }, [3, 3], /out-of-order page numbers: 3,3/],
      [{ commit: 5 }, [3, 2], /out-of-order page numbers: 3,2/],
      [{ commit: lock, pageSize: 65536 }, [lock], /cannot encode lock page: pgno=16385/],
      [{ commit: 5, minTxid: toTxid(1) }, [2], /must start with page number 1/],
      [{ commit: 5, minTxid: toTxid(1) }, [1, 3], /nonsequential page numbers .*: 1,3/],
    ];
    for (const [fields, pgnos, text] of cases) {
      const writer = new LtxFileWriter({ header: headerOf(fields), sink: () => undefined });
      assert.throws(() => {
        for (const pgno of pgnos) writer.add(pgno);
      }, text);
      writer.discard();
      assert.throws(() => {
        writer.add(1);
      }, /ltx encoder closed/);
    }
    const snapshot = headerOf({ commit: 5, minTxid: toTxid(1) });
    const writer = new LtxFileWriter({ header: snapshot, sink: () => undefined });
    await writer.writeRun(1, 4);
    await assert.rejects(writer.finish(), /incomplete snapshot: page 5 is missing/);
    const empty = new LtxFileWriter({ header: headerOf({ commit: 0 }), sink: () => undefined });
    await assert.rejects(empty.finish(), /must be empty for zero-length database/);
  });

  test('insists on a due flush', async () => {
    const header = headerOf({ commit: 5 });
    const writer = new LtxFileWriter({ header, sink: () => undefined, chunkBytes: 1 });
    await writer.flush();
    writer.add(1);
    assert.equal(writer.needsFlush, true);
    assert.throws(() => {
      writer.add(2);
    }, /due flush/);
  });

  test('works in a given kernel of the stated size, also without WebAssembly', async () => {
    const arenaBytes = writerArenaBytes(1000);
    for (const kind of ['wasm', 'typescript'] as const) {
      const kernel = createKernel({ arenaBytes }, kind);
      const pages = [{ pgno: 1, data: page(65536, 1) }];
      await write(headerOf({ pageSize: 65536 }), pages, { kernel, chunkBytes: 1000 });
    }
  });

  // More pages than a JavaScript Map holds entries.
  test(`CMP-07 NODE-06 writes ${MANY_PAGES} pages in bounded memory`, async () => {
    let size = 0;
    const lock = lockPgno(512);
    const header = headerOf({ commit: MANY_PAGES + 1, minTxid: toTxid(1) });
    const sink = (bytes: Uint8Array, position: number): void => {
      assert.equal(position, size);
      size += bytes.length;
    };
    const writer = new LtxFileWriter({ header, sink });
    for (let pgno = 1; pgno <= MANY_PAGES + 1; pgno += writer.slots) {
      await writer.writeRun(pgno, Math.min(writer.slots, MANY_PAGES + 2 - pgno));
    }
    const written = await writer.finish();
    assert.equal(written.pageCount, MANY_PAGES + 1 - (MANY_PAGES >= lock ? 1 : 0));
    assert.equal(written.size, size);
    assert.ok(process.memoryUsage().arrayBuffers < 64e6 + MANY_PAGES * 8.5);
  });

  test('NODE-13 allocates nothing per page', async () => {
    const header = headerOf({ commit: 1_000_000, pageSize: 4096 });
    const writer = new LtxFileWriter({ header, sink: () => undefined });
    for (let pgno = 1; pgno <= 1000; pgno++) {
      if (writer.needsFlush) await writer.flush();
      writer.add(pgno);
    }
    const before = process.memoryUsage().heapUsed;
    for (let pgno = 1001; pgno <= 21_000; pgno++) {
      if (writer.needsFlush) await writer.flush();
      writer.add(pgno);
    }
    // A garbage collection in between makes the difference negative; an object per page would be more than this.
    assert.ok(process.memoryUsage().heapUsed - before < 20_000 * 40);
    writer.discard();
  });
});
