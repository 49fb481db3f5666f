import assert from 'node:assert/strict';
import { link, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { nodeFileSystem } from '../lib/file-system.ts';
import { Spool } from './spool.ts';
import { temporaryFolder } from './test-history.ts';

const runs = process.env['SLOW'] === '1' ? 200 : 15;
const { folder } = await temporaryFolder();
after(() => rm(folder, { recursive: true }));

async function sourceBytes(spool: Spool): Promise<Buffer> {
  const source = await spool.source();
  const { path, size } = source;
  const pieces: Uint8Array[] = [];
  for await (const piece of source.stream()) pieces.push(Uint8Array.from(piece));
  const bytes = Buffer.concat(pieces);
  assert.equal(bytes.length, size);
  if (path !== undefined) assert.ok((await readFile(path)).equals(bytes));
  return bytes;
}

async function openedBytes(spool: Spool): Promise<Uint8Array> {
  const opened = await spool.open();
  if (opened instanceof Uint8Array) return opened;
  const target = new Uint8Array(spool.size);
  assert.equal(await opened.read('test', target, 0), target.length);
  await opened.close();
  return target;
}

test('a spool gives back what it was given, in memory, through the page cache and past it', async () => {
  let number = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 1, max: 600_000 }), { maxLength: 8 }),
      fc.boolean(),
      fc.boolean(),
      async (sizes, isDirect, restarts) => {
        const path = join(folder, `${number++}.tmp`);
        const spool = new Spool({ fileSystem: nodeFileSystem, path, isDirect });
        const pieces = sizes.map((size, at) => Buffer.alloc(size, at + 1));
        if (restarts) {
          for (const piece of pieces) await spool.write(Buffer.from(piece).fill(255));
          await spool.restart();
        }
        for (const piece of pieces) await spool.write(piece);
        const expected = Buffer.concat(pieces);
        assert.equal(spool.size, expected.length);
        assert.ok((await sourceBytes(spool)).equals(expected));
        assert.ok(Buffer.from(await openedBytes(spool)).equals(expected));
        await spool.discard();
        assert.deepEqual(await readdir(folder), []);
      },
    ),
    { numRuns: runs },
  );
});

test('a left-over that a replica has taken over under another name stays as it is', async () => {
  const [path, published] = [join(folder, 'left.tmp'), join(folder, 'published.ltx')];
  await writeFile(published, 'the only copy');
  await link(published, path);
  const spool = new Spool({ fileSystem: nodeFileSystem, path, memoryBytes: 0 });
  await spool.write(Buffer.from('another file'));
  assert.equal(await readFile(published, 'utf8'), 'the only copy');
  assert.equal((await sourceBytes(spool)).toString(), 'another file');
  await spool.discard();
  await rm(published);
});
