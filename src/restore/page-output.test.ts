import assert from 'node:assert/strict';
import { closeSync, ftruncateSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { closeDirect, DIRECT_ALIGNMENT, openDirect } from '../lib/direct-file.ts';
import { isLitestreamError } from '../lib/errors.ts';
import { nodeFileSystem } from '../lib/file-system.ts';
import { AsyncPageOutput, PageOutput } from './page-output.ts';

const folder = mkdtempSync(join(tmpdir(), 'page-output-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const SIZE = 4 << 20;

/** As kernels have it: pages begin at a multiple of the alignment. */
const memory = new Uint8Array(new WebAssembly.Memory({ initial: 80, maximum: 80 }).buffer);
for (let at = 0; at < memory.length; at += 1) memory[at] = (at * 7 + (at >>> 12)) & 0xff;

/** Writes pieces of the memory to the same place of a new file. */
function written(name: string, pieces: readonly (readonly [from: number, to: number])[]): Buffer {
  const path = join(folder, name);
  const descriptor = openSync(path, 'w+');
  ftruncateSync(descriptor, SIZE);
  const direct = openDirect(descriptor);
  try {
    const output = new PageOutput(descriptor, direct, path);
    for (const [from, to] of pieces) output.write(memory.subarray(from, to), from);
  } finally {
    closeDirect(direct);
    closeSync(descriptor);
  }
  return readFileSync(path);
}

test('pieces of any size at any place arrive, past the page cache or through it', () => {
  const pieces = [
    [1 << 20, 2 << 20],
    [4096, 8192],
    [512, 4096],
    [8192, 1 << 20],
    [(2 << 20) + 1536, (3 << 20) + 2048],
    // Over bytes that the page cache may still hold.
    [0, 1 << 20],
    [(1 << 20) + 100, (1 << 20) + 300],
    [2 << 20, 2 << 20],
  ] as const;
  const found = written('pieces', pieces);
  assert.equal(found.length, SIZE);
  const expected = new Uint8Array(SIZE);
  for (const [from, to] of pieces) expected.set(memory.subarray(from, to), from);
  assert.equal(Buffer.compare(found, expected), 0);
});

test('pieces arrive from a thread that must not wait, too', async () => {
  const path = join(folder, 'async');
  const file = await nodeFileSystem.open('test:open', path, 'create');
  await file.truncate('test:truncate', SIZE);
  const pieces = [
    [1 << 20, 2 << 20, 0],
    [4096, 8192, 0],
    [512, 4096, 0],
    [(2 << 20) + 1536, (3 << 20) + 2048, 0],
    // From an address that the disk does not take, and everything behind that.
    [3 << 20, (3 << 20) + 409_600, 17],
    [8192, 1 << 20, 0],
  ] as const;
  for (const second of [true, false]) {
    const direct = second ? openDirect(file.fd) : -1;
    const output = new AsyncPageOutput(file, direct, path);
    const expected = new Uint8Array(SIZE);
    for (const [from, to, shift] of pieces) {
      await output.write(memory.subarray(from + shift, to + shift), from);
      expected.set(memory.subarray(from + shift, to + shift), from);
    }
    closeDirect(direct);
    assert.equal(Buffer.compare(readFileSync(path), expected), 0);
    await file.truncate('test:truncate', 0);
    await file.truncate('test:truncate', SIZE);
  }
  await file.close();
  const gone = new AsyncPageOutput(file, 1 << 20, path);
  await assert.rejects(
    gone.write(memory.subarray(0, 16 * DIRECT_ALIGNMENT), 0),
    (error) => isLitestreamError(error) && error.message.includes(path),
  );
});

test('memory that the disk does not take goes through the page cache', () => {
  const path = join(folder, 'unaligned');
  const descriptor = openSync(path, 'w+');
  const direct = openDirect(descriptor);
  try {
    const output = new PageOutput(descriptor, direct, path);
    for (const at of [0, 1 << 20]) output.write(memory.subarray(17, 17 + (1 << 20)), at);
    const whole = readFileSync(path);
    const once = memory.subarray(17, 17 + (1 << 20));
    assert.equal(Buffer.compare(whole, Buffer.concat([once, once])), 0);
  } finally {
    closeDirect(direct);
    closeSync(descriptor);
  }
});

test('an error of the disk names the file', () => {
  const path = join(folder, 'closed');
  const descriptor = openSync(path, 'w+');
  const direct = openDirect(descriptor);
  closeDirect(direct);
  closeSync(descriptor);
  for (const second of [-1, direct]) {
    const output = new PageOutput(descriptor, second, path);
    assert.throws(
      () => output.write(memory.subarray(0, 16 * DIRECT_ALIGNMENT), 0),
      (error) => isLitestreamError(error) && error.message.includes(path),
    );
  }
});

test('without a second descriptor everything goes through the page cache', () => {
  assert.equal(openDirect(-1), -1);
  const path = join(folder, 'plain');
  const descriptor = openSync(path, 'w+');
  try {
    new PageOutput(descriptor, -1, path).write(memory.subarray(0, 1 << 20), 0);
    assert.equal(Buffer.compare(readFileSync(path), memory.subarray(0, 1 << 20)), 0);
  } finally {
    closeSync(descriptor);
  }
});
