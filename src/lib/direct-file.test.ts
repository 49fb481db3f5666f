import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { alignedBytes, DIRECT_ALIGNMENT } from './direct-file.ts';
import { nodeFileSystem } from './file-system.ts';

const SIZE = 1 << 20;

describe('direct writes', () => {
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'litestream-direct-'));
  });
  after(() => rm(folder, { recursive: true }));

  function filled(bytes: Uint8Array): Uint8Array {
    for (let at = 0; at < bytes.length; at++) bytes[at] = at * 7 + (at >> 11);
    return bytes;
  }

  for (const [name, memory, positions, lengths] of [
    ['whole blocks', alignedBytes(SIZE), [0, SIZE, 3 * SIZE], [SIZE]],
    ['a rest behind whole blocks', alignedBytes(SIZE), [0, SIZE], [SIZE, SIZE - 1, 70_001]],
    ['less than a block', alignedBytes(SIZE), [0, 4096], [1, 4095]],
    ['a position between blocks', alignedBytes(SIZE), [1, SIZE + 100], [SIZE]],
    ['an address between blocks', alignedBytes(SIZE + 8).subarray(8), [0, SIZE], [SIZE]],
  ] as const) {
    it(`stores the bytes: ${name}`, async () => {
      filled(memory);
      for (const length of lengths) {
        const path = join(folder, 'file');
        const file = await nodeFileSystem.open('test', path, 'create');
        const expected = new Uint8Array((positions.at(-1) ?? 0) + length);
        for (const position of positions) {
          const bytes = memory.subarray(0, length);
          await file.write('test', bytes, position, 'direct');
          expected.set(bytes, position);
        }
        await file.sync('test');
        await file.close();
        assert.deepEqual(new Uint8Array(await readFile(path)), expected);
      }
    });
  }

  it('replace what was written in the ordinary way, and are replaced by it', async () => {
    const path = join(folder, 'mixed');
    const file = await nodeFileSystem.open('test', path, 'create');
    await file.write('test', new Uint8Array(SIZE).fill(1), 0);
    await file.write('test', alignedBytes(SIZE / 2).fill(2), DIRECT_ALIGNMENT, 'direct');
    await file.write('test', Uint8Array.of(3), DIRECT_ALIGNMENT + 9);
    await file.close();
    const found = await readFile(path);
    const expected = Buffer.alloc(SIZE, 1);
    expected.fill(2, DIRECT_ALIGNMENT, DIRECT_ALIGNMENT + SIZE / 2);
    expected[DIRECT_ALIGNMENT + 9] = 3;
    assert.ok(found.equals(expected));
  });
});
