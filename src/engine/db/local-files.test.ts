import assert from 'node:assert/strict';
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { encodeLtxFile, formatFileName, toTxid } from '../../formats/ltx/index.ts';
import { nodeFileSystem } from '../../lib/file-system.ts';
import { LocalFiles } from './local-files.ts';

const TXID = toTxid(1n);

function folderWith(t: TestContext, bytes: Uint8Array): { files: LocalFiles; path: string } {
  const metaPath = mkdtempSync(join(tmpdir(), 'litestream-local-files-'));
  t.after(() => rmSync(metaPath, { recursive: true, force: true }));
  const files = new LocalFiles(metaPath, nodeFileSystem);
  mkdirSync(files.folder, { recursive: true });
  const path = join(files.folder, formatFileName(TXID, TXID));
  writeFileSync(path, bytes);
  return { files, path };
}

async function pieces(stream: AsyncIterable<Uint8Array>): Promise<Uint8Array[]> {
  const all: Uint8Array[] = [];
  for await (const piece of stream) all.push(piece);
  return all;
}

test('a small file is read for its upload with little memory', async (t) => {
  const { files } = folderWith(t, Buffer.alloc(700, 7));
  const source = await files.source(TXID);
  assert.equal(source.size, 700);
  const [piece, ...others] = await pieces(source.stream());
  assert.equal(others.length, 0);
  assert.deepEqual(Buffer.from(piece ?? []), Buffer.alloc(700, 7));
  assert.ok((piece?.buffer.byteLength ?? Infinity) <= 4096);
});

test('a large file is read for its upload in pieces, to its present end', async (t) => {
  const bytes = Buffer.from(Array.from({ length: 600_000 }, (_, at) => (at * 7) % 251));
  const { files, path } = folderWith(t, bytes);
  const source = await files.source(TXID);
  // The receiver says so: it counts what arrives.
  appendFileSync(path, Buffer.alloc(9000, 1));
  const found = await pieces(source.stream());
  assert.ok(found.every(({ buffer }) => buffer.byteLength <= 256 * 1024));
  assert.deepEqual(Buffer.concat(found), Buffer.concat([bytes, Buffer.alloc(9000, 1)]));
});

for (const pages of [3, 200, 600]) {
  test(`every page of a file with ${pages} pages is verified and handed out`, async (t) => {
    const pageSize = 1024;
    const data = (pgno: number): Uint8Array =>
      Uint8Array.from({ length: pageSize }, (_, at) => ((pgno * 37 + at) * 2_654_435_761) >>> 13);
    const bytes = encodeLtxFile({
      header: {
        flags: 2,
        pageSize,
        commit: pages,
        minTxid: TXID,
        maxTxid: TXID,
        timestampMs: 1,
        preApplyChecksum: 0n,
        walOffset: 0,
        walSize: 0,
        walSalt1: 0,
        walSalt2: 0,
        nodeId: 0n,
      },
      pages: Array.from({ length: pages }, (_, at) => ({ pgno: at + 1, data: data(at + 1) })),
    });
    const { files } = folderWith(t, bytes);
    const seen: number[] = [];
    const header = await files.verify(TXID, (pgno, page) => {
      assert.deepEqual(page.slice(), data(pgno));
      seen.push(pgno);
    });
    assert.equal(header.commit, pages);
    assert.equal(seen.length, pages);
  });
}
