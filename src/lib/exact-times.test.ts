import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { platform, tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { type FileTime, isExactInNode, setExactTimes } from './exact-times.ts';

const folder = mkdtempSync(join(tmpdir(), 'exact times-'));
after(() => rmSync(folder, { recursive: true }));

function make(name: string): string {
  const path = join(folder, name);
  writeFileSync(path, name);
  return path;
}

function assertExact({ path, ms }: FileTime): void {
  const { mtimeNs, atimeNs } = statSync(path, { bigint: true });
  // Elsewhere nothing may have happened at all.
  if (platform() === 'linux') assert.equal(mtimeNs, BigInt(ms) * 1_000_000n, path);
  if (platform() === 'linux') assert.equal(atimeNs, mtimeNs, path);
}

test('every millisecond is met', async () => {
  const entries = Array.from({ length: 60 }, (_, n) => ({
    path: make(`f${n}`),
    ms: 1_735_689_600_000 + n * 7_919_017,
  }));
  entries.push(
    { path: make('at the epoch'), ms: 1 },
    { path: make('late'), ms: 4_102_444_800_999 },
  );
  await setExactTimes(entries);
  entries.forEach(assertExact);
});

test('names are data: blanks, quotes, newlines, options, commands, other scripts', async () => {
  const names = ['a b', '  ', '"', "'", '`id`', '$(touch x)', '-r', '--help', '\\', 'a\nb', '@1.5'];
  names.push(
    'ü.ltx',
    '日本',
    '\u{1f4be}',
    '*',
    '?',
    '{}',
    ';ls',
    '&',
    '|',
    '#',
    '~',
    '\t',
    '\u0001',
  );
  const entries = names.map((name, n) => ({ path: make(name), ms: 1_700_000_000_001 + n }));
  const before = readdirSync(folder).toSorted();
  await setExactTimes(entries);
  entries.forEach(assertExact);
  assert.deepEqual(readdirSync(folder).toSorted(), before);
});

test('a missing file is not created and does not keep others from their time', async () => {
  const [first, last] = [make('first'), make('last')];
  const entries = [first, join(folder, 'missing'), join(folder, 'no', 'folder'), last];
  await setExactTimes(entries.map((path) => ({ path, ms: 1_700_000_000_123 })));
  assertExact({ path: first, ms: 1_700_000_000_123 });
  assertExact({ path: last, ms: 1_700_000_000_123 });
  assert.ok(!readdirSync(folder).includes('missing'));
});

test('what cannot be passed on is left out', async () => {
  const path = make('kept');
  const entries = ['', 'a\0b'].map((each) => ({ path: each, ms: 1 }));
  await setExactTimes([...entries, { path: make('before'), ms: -1 }, { path, ms: 5 }]);
  assertExact({ path, ms: 5 });
  await setExactTimes([]);
});

test('a symbolic link does not lead to another file', async () => {
  const path = make('target of link');
  const { mtimeNs } = statSync(path, { bigint: true });
  symlinkSync(path, join(folder, 'link'));
  await setExactTimes([{ path: join(folder, 'link'), ms: 1_700_000_000_123 }]);
  assert.equal(statSync(path, { bigint: true }).mtimeNs, mtimeNs);
});

test('knows the milliseconds that a double of seconds holds', () => {
  for (const ms of [0, 125, 1_735_689_600_000, 1_735_689_600_375]) assert.ok(isExactInNode(ms));
  for (const ms of [1, 124, 1_735_689_600_123]) assert.ok(!isExactInNode(ms));
});
