import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nodeFileSystem } from '../../lib/file-system.ts';
import { FakeClock } from '../../testing/index.ts';
import { RecordingLogger } from '../../../test/support/engine.ts';
import { formatJson, formatSize, formatTime, parseTimestamp } from './format.ts';
import { hintAtOwner } from './owner-hint.ts';
import { progressDisplay } from './progress.ts';
import { formatTable } from './table.ts';

const SIZES: readonly (readonly [bytes: number, text: string])[] = [
  [0, '0 B'],
  [9, '9 B'],
  [10, '10 B'],
  [999, '999 B'],
  [1000, '1.0 kB'],
  [4100, '4.1 kB'],
  [9949, '9.9 kB'],
  [9950, '10 kB'],
  [32_992, '33 kB'],
  [99_949, '100 kB'],
  [999_999, '1000 kB'],
  [1_000_000, '1.0 MB'],
  [67_108_864, '67 MB'],
];
for (const [bytes, text] of SIZES) {
  test(`${bytes} bytes are ${text}`, () => assert.equal(formatSize(bytes), text));
}

test('columns are as wide as their widest cell, in code points, without trailing blanks', () => {
  assert.equal(
    formatTable(
      ['path', 'x', 'y'],
      [
        ['é😀', 'long cell', ''],
        ['a', 'b', 'c'],
      ],
    ),
    'path  x          y\né😀    long cell\na     b          c\n',
  );
  assert.equal(formatTable(['path', 'replica'], []), 'path  replica\n');
});

test('JSON ends with a newline and empty lists stay on one line', () => {
  assert.equal(formatJson([]), '[]\n');
  assert.equal(formatJson({ a: [1] }), '{\n  "a": [\n    1\n  ]\n}\n');
});

const TIMES: readonly (readonly [text: string, time: string | undefined])[] = [
  ['2026-03-01T08:00:00Z', '2026-03-01T08:00:00.000Z'],
  ['2026-03-01T08:00:00.5Z', '2026-03-01T08:00:00.500Z'],
  ['2026-03-01T08:00:00,123456+01:30', '2026-03-01T06:30:00.123Z'],
  ['2026-03-01T00:00:00-02:00', '2026-03-01T02:00:00.000Z'],
  ['2024-02-29T00:00:00Z', '2024-02-29T00:00:00.000Z'],
  ['2026-02-29T00:00:00Z', undefined],
  ['2026-03-01', undefined],
  ['2026-03-01 08:00:00Z', undefined],
  ['2026-03-01t08:00:00Z', undefined],
  ['2026-03-01T08:00:00z', undefined],
  ['2026-03-01T08:00:00', undefined],
  ['2026-03-01T24:00:00Z', undefined],
  ['2026-13-01T08:00:00Z', undefined],
];
for (const [text, time] of TIMES) {
  test(`the time ${text} is ${time ?? 'refused'}`, () => {
    const ms = parseTimestamp(text);
    assert.equal(ms === undefined ? undefined : new Date(ms).toISOString(), time);
  });
}

test('times are shown in UTC with seconds', () => {
  assert.equal(formatTime(Date.UTC(2026, 2, 1, 8, 0, 7, 999)), '2026-03-01T08:00:07Z');
});

test('RST-17 without a terminal a restore that takes long says where it stands, every 10 s', async () => {
  const clock = new FakeClock();
  const logger = new RecordingLogger();
  const sink = { write: () => assert.fail('there is no terminal'), terminal: false };
  const display = progressDisplay(sink, clock, logger);
  await clock.advance(60_000);
  assert.deepEqual(logger.records, [], 'nothing has begun');
  display.update({ phase: 'plan', bytesDone: 0, bytesTotal: 0 });
  await clock.advance(9_999);
  display.update({ phase: 'fetch', bytesDone: 5, bytesTotal: 9 });
  await clock.advance(1);
  // It stands still now.
  await clock.advance(20_000);
  display.clear();
  await clock.advance(60_000);
  assert.equal(clock.pending, 0);
  const line = { message: 'restoring', attributes: { phase: 'fetch', bytes: 5, total: 9 } };
  assert.deepEqual(
    logger.records,
    Array.from({ length: 3 }, () => ({ level: 'info', ...line })),
  );
});

test('RST-16 a file of root in a folder of somebody else gets a hint', async () => {
  const stat = { kind: 'file', size: 1, mtimeMs: 1, mode: 0o600, dev: 1n, ino: 1n } as const;
  for (const [file, folder, lines] of [
    [0, 1000, 1],
    [0, 0, 0],
    [1000, 1000, 0],
    [1000, 0, 0],
  ] as const) {
    const logger = new RecordingLogger();
    const fileSystem = {
      ...nodeFileSystem,
      stat: (_label: string, path: string) => {
        const uid = path === '/data/app.db' ? file : folder;
        return Promise.resolve({ ...stat, uid, gid: uid + 1 });
      },
    };
    await hintAtOwner(fileSystem, '/data/app.db', logger);
    assert.equal(logger.messages('warn').length, lines);
    const hint = 'give it to the user of its folder: chown 1000:1001 /data/app.db';
    if (lines > 0) assert.equal(logger.records[0]?.attributes['hint'], hint);
  }
});
