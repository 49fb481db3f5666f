import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { encodeLz4Frame, type Lz4FrameOptions, xxh32 } from '../../kernels/index.ts';
import { isLitestreamError } from '../../lib/errors.ts';
import { LegacyObjectDecoder, parseLegacyKey } from './index.ts';

const OPTIONS: Lz4FrameOptions = { blockSizeCode: 7 };
const GENERATION = '2b33bd19ec5cbff4';

/** Decodes pieces; joins what comes out. */
function decode(pieces: readonly Uint8Array[]): Buffer {
  const decoder = new LegacyObjectDecoder();
  const out: Buffer[] = [];
  for (const piece of pieces)
    for (const block of decoder.write(piece)) out.push(Buffer.from(block));
  decoder.end();
  assert.equal(decoder.produced, Buffer.concat(out).length);
  return Buffer.concat(out);
}

function cut(bytes: Uint8Array, step: number): Uint8Array[] {
  const pieces = [];
  for (let at = 0; at < bytes.length; at += step) pieces.push(bytes.subarray(at, at + step));
  return pieces;
}

/** Text that compresses, with noise. */
function content(size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  let state = 1;
  for (let at = 0; at < size; at++) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    bytes[at] = state >>> 31 === 1 ? at >>> 6 : state >>> 24;
  }
  return bytes;
}

function u32le(value: number): number[] {
  return [value & 255, (value >>> 8) & 255, (value >>> 16) & 255, value >>> 24];
}

describe('v0.3.x keys', () => {
  const names: readonly (readonly [string, ReturnType<typeof parseLegacyKey>])[] = [
    [`snapshots/00000000.snapshot.lz4`, { kind: 'snapshot', generation: GENERATION, index: 0 }],
    [
      `snapshots/fffffffe.snapshot.lz4`,
      { kind: 'snapshot', generation: GENERATION, index: 0xfffffffe },
    ],
    [
      `wal/0000000a_00005098.wal.lz4`,
      { kind: 'segment', generation: GENERATION, index: 10, offset: 0x5098 },
    ],
    [
      `wal/7fffffff_100000000.wal.lz4`,
      { kind: 'segment', generation: GENERATION, index: 0x7fffffff, offset: 2 ** 32 },
    ],
    [
      `wal/00000000_0000000100000000.wal.lz4`,
      { kind: 'segment', generation: GENERATION, index: 0, offset: 2 ** 32 },
    ],
    ...[
      'snapshots/0000000.snapshot.lz4',
      'snapshots/000000000.snapshot.lz4',
      'snapshots/0000000A.snapshot.lz4',
      'snapshots/00000000.snapshot.lz4.tmp',
      'snapshots/00000000_00000000.wal.lz4',
      'snapshots',
      'snapshots/a/00000000.snapshot.lz4',
      'wal/00000000.wal.lz4',
      'wal/00000000_0000000.wal.lz4',
      'wal/00000000_00000000000000000.wal.lz4',
      'wal/80000000_00000000.wal.lz4',
      'wal/00000000_0000000G.wal.lz4',
      'other/00000000.snapshot.lz4',
    ].map((name) => [name, undefined] as const),
  ];
  for (const [name, expected] of names) {
    test(`${name} is ${expected === undefined ? 'skipped' : `a ${expected.kind}`}`, () => {
      assert.deepEqual(parseLegacyKey(`generations/${GENERATION}/${name}`), expected);
    });
  }

  test('other folders and generations are skipped', () => {
    const rest = 'snapshots/00000000.snapshot.lz4';
    for (const folder of ['generations/2B33BD19EC5CBFF4', 'generations/2b33', `x/${GENERATION}`]) {
      assert.equal(parseLegacyKey(`${folder}/${rest}`), undefined, folder);
    }
  });
});

describe('v0.3.x objects', () => {
  test('begin as Litestream v0.3.x wrote them', () => {
    const frame = encodeLz4Frame(content(100), OPTIONS);
    assert.deepEqual([...frame.subarray(0, 7)], [0x04, 0x22, 0x4d, 0x18, 0x64, 0x70, 0xb9]);
  });

  test('of several blocks of 4 MiB decode from pieces of any size', () => {
    const bytes = content(9 * 1024 * 1024 + 17);
    const frame = encodeLz4Frame(bytes, { ...OPTIONS, bytesPerBlock: 4 * 1024 * 1024 });
    for (const step of [frame.length, 65_536, 1_000_003]) {
      assert.ok(decode(cut(frame, step)).equals(bytes), `pieces of ${step}`);
    }
  });

  test('of every shape decode from pieces of any size', () => {
    const shape = fc.record<Lz4FrameOptions>({
      blockSizeCode: fc.integer({ min: 4, max: 7 }),
      bytesPerBlock: fc.integer({ min: 1, max: 3000 }),
      blockChecksum: fc.boolean(),
      contentSize: fc.boolean(),
    });
    fc.assert(
      fc.property(
        shape,
        fc.integer({ min: 1, max: 9000 }),
        fc.integer({ min: 1, max: 700 }),
        (options, size, step) => {
          const bytes = content(size);
          assert.ok(decode(cut(encodeLz4Frame(bytes, options), step)).equals(bytes));
        },
      ),
    );
  });

  test('may have blocks that refer to earlier ones, up to 64 KiB back', () => {
    // A stored block of 64 KiB, then one that repeats its beginning and ends in literals, then one that repeats that.
    const first = content(65_536);
    const repeat = [0x0f, 0xff, 0xff, 40, 0x50, 1, 2, 3, 4, 5];
    const second = Buffer.concat([first.subarray(1, 1 + 59), Uint8Array.of(1, 2, 3, 4, 5)]);
    const again = [0x04, 64, 0, 0x50, 6, 7, 8, 9, 10];
    const third = Buffer.concat([second.subarray(0, 8), Uint8Array.of(6, 7, 8, 9, 10)]);
    const bytes = Buffer.concat([first, second, third]);
    const head = [...encodeLz4Frame(first).subarray(0, 4), 0x44, 0x40];
    head.push((xxh32(Uint8Array.from(head.slice(4))) >>> 8) & 255);
    const frame = Uint8Array.of(
      ...head,
      ...u32le(0x8000_0000 + 65_536),
      ...first,
      ...u32le(repeat.length),
      ...repeat,
      ...u32le(again.length),
      ...again,
      ...u32le(0),
      ...u32le(xxh32(bytes)),
    );
    assert.ok(decode(cut(frame, 1000)).equals(bytes));
    const tooFar = frame.slice();
    // The first block shrinks, so that the match reaches in front of the content.
    tooFar.set(u32le(0x8000_0000 + 65_534), 7);
    assert.throws(() => decode([tooFar.subarray(0, 11 + 65_534), tooFar.subarray(11 + 65_536)]), {
      code: 'ERR_LZ4',
      message: /match outside of the content/,
    });
  });

  test('that are empty are possible', () => {
    const end = [...u32le(0), ...u32le(xxh32(new Uint8Array()))];
    const frame = Uint8Array.of(...encodeLz4Frame(content(1), OPTIONS).subarray(0, 7), ...end);
    assert.equal(decode([frame]).length, 0);
  });

  test('that are cut anywhere are refused', () => {
    const frame = encodeLz4Frame(content(300), { ...OPTIONS, bytesPerBlock: 100 });
    for (let size = 0; size < frame.length; size++) {
      assert.throws(() => decode([frame.subarray(0, size)]), {
        code: 'ERR_LZ4',
        message: /^unexpected EOF \(lz4 frame at byte/,
      });
    }
  });

  test('with a flipped bit are refused, or give the same content', () => {
    const bytes = content(200);
    const frame = encodeLz4Frame(bytes, OPTIONS);
    for (let bit = 0; bit < frame.length * 8; bit++) {
      const damaged = frame.slice();
      damaged[bit >>> 3] = (damaged[bit >>> 3] ?? 0) ^ (1 << (bit & 7));
      try {
        // A match may find the same bytes elsewhere.
        assert.ok(decode([damaged]).equals(bytes), `bit ${bit}`);
      } catch (error) {
        assert.ok(isLitestreamError(error, 'ERR_LZ4'), `bit ${bit}: ${String(error)}`);
      }
    }
  });

  test('with bytes behind them are refused', () => {
    const frame = encodeLz4Frame(content(10), OPTIONS);
    assert.throws(() => decode([frame, Uint8Array.of(0)]), {
      code: 'ERR_LZ4',
      message: /expected end of object, found more bytes/,
    });
  });

  test('that are encrypted are named so', () => {
    for (const head of [
      'age-encryption.org/v1\n-> X25519 abc',
      '-----BEGIN AGE ENCRYPTED FILE-----',
    ]) {
      assert.throws(() => decode([Buffer.from(head)]), {
        code: 'ERR_LZ4',
        message: /encrypted with age/,
        hint: /v0\.3/,
      });
    }
  });
});
