import assert from 'node:assert/strict';
import { writeFileSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { buildWal } from '../../formats/sqlite/index.ts';
import { PinnedFile } from '../../sqlite/index.ts';
import { tempDir } from '../../../test/support/temp-dir.ts';
import { ContinuityLost } from './continuity-lost.ts';
import { GenerationReader } from './generation-reader.ts';

const PAGE = 1024;
const SALTS = { salt1: 1, salt2: 2 };
const FROM_FILE = 77;

interface Scene {
  readonly reader: GenerationReader;
  readonly path: string;
  /** First byte of what the reader gives for a frame. */
  readonly read: (frame: number) => number;
  readonly restart: (salts: { salt1: number; salt2: number }) => void;
}

function scene(t: TestContext, salts: typeof SALTS | undefined = SALTS): Scene {
  const path = join(tempDir(t), 'x.db-wal');
  const write = (of: typeof SALTS, value: number): void => {
    const frames = [0, 1].map((n) => ({
      pgno: n + 1,
      commit: 2,
      data: new Uint8Array(PAGE).fill(value + n),
    }));
    writeFileSync(path, buildWal({ bigEndian: false, pageSize: PAGE, sequence: 0, ...of }, frames));
  };
  write(SALTS, 10);
  const wal = PinnedFile.open(path);
  t.after(() => wal.close());
  const reader = new GenerationReader(wal, PAGE, salts, (_pgno, target) => {
    target.fill(FROM_FILE);
  });
  return {
    reader,
    path,
    read: (frame) => {
      const target = new Uint8Array(PAGE);
      reader.readFrame(frame, frame + 1, target);
      assert.ok(target.every((byte) => byte === target[0]));
      return target[0] ?? -1;
    },
    restart: (next) => {
      write(next, 50);
    },
  };
}

test('reads frames of its generation', (t) => {
  const { read, reader } = scene(t);
  assert.deepEqual([read(0), read(1)], [10, 11]);
  assert.equal(reader.ended(), false);
});

test('reads the database file once its generation has ended, and never the WAL again', (t) => {
  const { read, reader, restart } = scene(t);
  read(0);
  restart({ salt1: 2, salt2: 9 });
  assert.equal(read(1), FROM_FILE, 'not the 51 of the next generation');
  assert.equal(reader.ended(), true);
  restart(SALTS);
  assert.equal(read(0), FROM_FILE, 'an end is final');
});

for (const [what, salts] of [
  ['first', { salt1: 2, salt2: 2 }],
  ['second', { salt1: 1, salt2: 3 }],
] as const) {
  test(`another ${what} salt alone is another generation`, (t) => {
    const { reader, restart } = scene(t);
    restart(salts);
    assert.equal(reader.ended(), true);
  });
}

test('an emptied WAL has ended', (t) => {
  const { path, read } = scene(t);
  truncateSync(path, 0);
  assert.equal(read(0), FROM_FILE);
});

test('a pinned reader trusts its generation, and no frame that was overwritten all the same', (t) => {
  const { read, reader, restart } = scene(t);
  reader.pin();
  restart({ salt1: 2, salt2: 9 });
  assert.equal(reader.ended(), false);
  assert.throws(() => read(0), ContinuityLost);
});

test('a pinned reader does not fall back: a missing frame is an error', (t) => {
  const { path, read, reader } = scene(t);
  reader.pin();
  truncateSync(path, 32);
  assert.throws(() => read(0), ContinuityLost);
});

test('pinning comes too late after the end', (t) => {
  const { read, reader, restart } = scene(t);
  restart({ salt1: 2, salt2: 9 });
  assert.equal(reader.ended(), true);
  reader.pin();
  assert.equal(read(0), FROM_FILE);
});

test('without a generation everything is in the database file', (t) => {
  const path = join(tempDir(t), 'x.db-wal');
  writeFileSync(path, '');
  const wal = PinnedFile.open(path);
  t.after(() => wal.close());
  const reader = new GenerationReader(wal, PAGE, undefined, (_pgno, target) => {
    target.fill(FROM_FILE);
  });
  const target = new Uint8Array(PAGE);
  reader.readFrame(0, 1, target);
  assert.equal(target[0], FROM_FILE);
});
