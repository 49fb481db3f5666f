import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { PageBatch, type FrameReader } from './page-batch.ts';

const PAGE_SIZE = 512;
const RUNS = process.env['SLOW'] === '1' ? 5000 : 300;

/** What a WAL holds: frame → the image that a test wrote there. */
class Frames implements FrameReader {
  readonly #images = new Map<number, { pgno: number; value: number }>();
  reads = 0;

  write(frame: number, pgno: number, value: number): void {
    this.#images.set(frame, { pgno, value });
  }

  readFrame(frame: number, pgno: number, target: Uint8Array): void {
    const found = this.#images.get(frame);
    assert.equal(found?.pgno, pgno, 'the frame holds the page that is asked for');
    this.reads++;
    new DataView(target.buffer, target.byteOffset).setUint32(0, found.value);
  }
}

function valueIn(batch: PageBatch, pgno: number, frames: FrameReader): number {
  const image = new Uint8Array(PAGE_SIZE);
  batch.read(pgno, image, frames);
  return new DataView(image.buffer).getUint32(0);
}

type Step =
  | { kind: 'put'; pgno: number }
  | { kind: 'image'; pgno: number }
  | { kind: 'claim'; pgno: number; stale: boolean }
  | { kind: 'gather' };

const pgnos = fc.oneof(
  fc.integer({ min: 1, max: 40 }),
  fc.integer({ min: 1, max: 0xffff_fffe }),
  // Far apart by a power of two: they meet in a hash table.
  fc.integer({ min: 1, max: 30 }).map((n) => n * 0x10_0000),
);
const steps = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: fc.record({ kind: fc.constant('put' as const), pgno: pgnos }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('image' as const), pgno: pgnos }) },
    {
      weight: 3,
      arbitrary: fc.record({
        kind: fc.constant('claim' as const),
        pgno: pgnos,
        stale: fc.boolean(),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('gather' as const) }) },
  ),
  { maxLength: 300 },
);

function applyStep(step: Step, at: number, world: World): void {
  const { batch, frames, model } = world;
  switch (step.kind) {
    case 'put':
      frames.write(at, step.pgno, at + 1);
      batch.put(step.pgno, at);
      model.set(step.pgno, { value: at + 1, frame: at });
      return;
    case 'image':
      new DataView(...viewOf(batch.putImage(step.pgno))).setUint32(0, at + 1);
      model.set(step.pgno, { value: at + 1, frame: undefined });
      return;
    case 'claim': {
      const known = model.get(step.pgno);
      const frame = step.stale || known?.frame === undefined ? at + 1_000_000 : known.frame;
      const image = batch.claim(step.pgno, frame);
      assert.equal(image !== undefined, known?.frame === frame, 'only the newest frame is claimed');
      if (image === undefined || known === undefined) return;
      new DataView(...viewOf(image)).setUint32(0, known.value);
      model.set(step.pgno, { value: known.value, frame: undefined });
      return;
    }
    case 'gather':
      batch.gather(frames);
      for (const [pgno, { value }] of model) model.set(pgno, { value, frame: undefined });
  }
}

interface World {
  readonly batch: PageBatch;
  readonly frames: Frames;
  readonly model: Map<number, { value: number; frame: number | undefined }>;
}

function viewOf(bytes: Uint8Array): [ArrayBufferLike, number] {
  return [bytes.buffer, bytes.byteOffset];
}

test('a batch holds the newest image of each page like a map', () => {
  fc.assert(
    fc.property(steps, fc.integer({ min: 0, max: 0xffff_ffff }), (list, commit) => {
      const world: World = {
        batch: new PageBatch(PAGE_SIZE),
        frames: new Frames(),
        model: new Map(),
      };
      const { batch, frames, model } = world;
      list.forEach((step, at) => applyStep(step, at, world));
      assert.equal(batch.count, model.size);
      assert.equal(
        batch.inWal,
        [...model.values()].filter(({ frame }) => frame !== undefined).length,
      );
      for (const [pgno, { value }] of model) {
        assert.ok(batch.has(pgno));
        assert.equal(valueIn(batch, pgno, frames), value);
      }
      const expected = [...model.keys()].filter((pgno) => pgno <= commit).sort((a, b) => a - b);
      assert.deepEqual([...batch.sortedPages(commit)], expected);
    }),
    { numRuns: RUNS },
  );
});

test('NODE-06 a batch of 150,000 pages stays right through growth and gathering', () => {
  const batch = new PageBatch(PAGE_SIZE);
  const frames = new Frames();
  const count = 150_000;
  for (let frame = 0; frame < count; frame++) {
    const pgno = ((frame * 7919) % count) + 1;
    frames.write(frame, pgno, frame);
    batch.put(pgno, frame);
  }
  assert.equal(batch.count, count);
  batch.gather(frames);
  assert.equal(frames.reads, count);
  assert.equal(batch.inWal, 0);
  assert.equal(batch.memoryBytes, count * PAGE_SIZE);
  assert.deepEqual([...batch.sortedPages(count).subarray(0, 3)], [1, 2, 3]);
  for (let frame = 0; frame < count; frame += 101) {
    assert.equal(valueIn(batch, ((frame * 7919) % count) + 1, frames), frame);
  }
  assert.equal(frames.reads, count, 'gathered images are read from memory');
});

test('a page that is written again takes no second place in memory', () => {
  const batch = new PageBatch(PAGE_SIZE);
  const frames = new Frames();
  for (let frame = 0; frame < 10; frame++) {
    frames.write(frame, 5, frame);
    batch.put(5, frame);
    batch.gather(frames);
  }
  assert.equal(batch.memoryBytes, PAGE_SIZE);
  assert.equal(valueIn(batch, 5, frames), 9);
});

test('pages that a shrunken database lost are left out', () => {
  const batch = new PageBatch(PAGE_SIZE);
  for (const pgno of [9, 3, 7, 1]) batch.put(pgno, pgno);
  assert.deepEqual([...batch.sortedPages(6)], [1, 3]);
  assert.deepEqual([...batch.sortedPages(0)], []);
});

test('reading a page that is not in the batch is a programming error', () => {
  const batch = new PageBatch(PAGE_SIZE);
  assert.throws(() => batch.read(1, new Uint8Array(PAGE_SIZE), new Frames()), {
    code: 'ERR_ASSERTION',
  });
});
