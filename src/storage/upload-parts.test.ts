import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { chunkedSource, ltxLike } from '../testing/index.ts';
import { concatBytes } from './streams.ts';
import { type UploadPart, uploadParts } from './upload-parts.ts';

async function partsOf(bytes: Uint8Array, chunk: number, part: number): Promise<UploadPart[]> {
  const parts: UploadPart[] = [];
  for await (const each of uploadParts(chunkedSource(bytes, chunk), part)) parts.push(each);
  return parts;
}

describe('the parts of an upload', () => {
  it('are of equal size but the last one, and are the source', async () => {
    const sizes = fc.tuple(
      fc.integer({ min: 100, max: 3000 }),
      fc.integer({ min: 1, max: 500 }),
      fc.integer({ min: 100, max: 700 }),
    );
    await fc.assert(
      fc.asyncProperty(sizes, async ([size, chunk, part]) => {
        const bytes = ltxLike(size);
        const parts = await partsOf(bytes, chunk, part);
        assert.deepEqual(concatBytes(parts.map((each) => each.bytes)), bytes);
        assert.equal(parts.length, Math.ceil(size / part));
        for (const [index, { number, offset, bytes: content, last }] of parts.entries()) {
          assert.equal(number, index + 1);
          assert.equal(offset, index * part);
          assert.equal(last, index === parts.length - 1);
          if (!last) assert.equal(content.length, part);
        }
      }),
      { numRuns: 50 },
    );
  });

  it('take one buffer of the size of a small file', async () => {
    const [only, ...others] = await partsOf(ltxLike(300), 7, 5_000_000);
    assert.equal(only?.bytes.buffer.byteLength, 300);
    assert.equal(others.length, 0);
  });

  it('are not read ahead: while one is waited for, the source waits as well', async () => {
    let read = 0;
    const bytes = ltxLike(10_000);
    const source = {
      size: bytes.length,
      async *stream() {
        await Promise.resolve();
        for (let at = 0; at < bytes.length; at += 100) {
          read = at + 100;
          yield bytes.subarray(at, at + 100);
        }
      },
    };
    const parts = uploadParts(source, 1000);
    await parts.next();
    assert.equal(read, 1100, 'the chunk that shows that more has to follow');
    await parts.return();
  });
});
