import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { checkTidy, type Finding } from '../../tools/tidy.ts';
import { tempDir } from '../support/temp-dir.ts';

const ROOT = join(import.meta.dirname, '../..');

type Tree = Readonly<Record<string, string>>;

/** What tidy finds in a tree of these files. */
function check(t: TestContext, files: Tree): Finding[] {
  const root = tempDir(t);
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  }
  return checkTidy(root);
}

const findings = (t: TestContext, files: Tree): string[] =>
  check(t, files).map(({ rule, path }) => `${rule}: ${path}`);

const texts = (t: TestContext, files: Tree): string[] => check(t, files).map(({ text }) => text);

test('the repository is tidy', () => {
  assert.deepEqual(
    checkTidy(ROOT).map(({ path, text, rule }) => `${path}: ${text} (${rule})`),
    [],
  );
});

test('left-overs, narrowed tests and uninitialised buffers are found at their line', (t) => {
  const files = {
    'tools/a.ts': `\n// ${'FIX'}ME later`,
    'src/lib/a.ts': 'export const a = Buffer.allocUnsafe(1);',
    'src/lib/a.test.ts': `test.${'only'}('x', () => { Buffer.allocUnsafe(1); });`,
    'docs/a.md': `# A\n\nsee /${'root'}/a`,
  };
  assert.deepEqual(findings(t, files).toSorted(), [
    'alloc-unsafe: src/lib/a.ts:1',
    'left-over: tools/a.ts:2',
    'machine-path: docs/a.md:3',
    'only: src/lib/a.test.ts:1',
  ]);
});

test('a folder of src needs an index.ts, and nothing else lies in src itself', (t) => {
  const files = {
    'src/index.ts': '',
    'src/helper.ts': '',
    'src/lib/a.ts': '',
    'src/cli/bin.ts': '',
    'src/engine/db.ts': '',
    'src/formats/ltx/page.ts': '',
    'src/storage/index.ts': '',
    'src/storage/providers/s3/client.ts': '',
  };
  assert.deepEqual(findings(t, files).toSorted(), [
    'index: src/engine',
    'index: src/formats/ltx',
    'index: src/helper.ts',
    'index: src/storage/providers/s3',
  ]);
});

test('a large folder explains itself', (t) => {
  const code = 'export const a = 1;\n'.repeat(2600);
  assert.deepEqual(findings(t, { 'src/engine/index.ts': code }), ['design: src/engine']);
  const explained = { 'src/engine/index.ts': code, 'src/engine/DESIGN.md': '# Engine' };
  assert.deepEqual(findings(t, explained), []);
});

test('an invariant has a test, and a test names only invariants that exist', (t) => {
  const files = {
    'src/engine/index.ts': '',
    'src/engine/DESIGN.md': '# Engine\n\n| I1 | a |\n- **I2** b\n- I3 c, see I9\n',
    'src/engine/index.test.ts': '// I1, I4',
    'test/simulation/run.test.ts': '// I2, I7',
  };
  assert.deepEqual(texts(t, files), [
    'no test names I3',
    'a test names I4, which is not declared here',
  ]);
});

test('error codes and their headings match in both directions', (t) => {
  const files = {
    'src/lib/errors.ts': "export type ErrorCode =\n  | 'ERR_A'\n  | 'ERR_B';\n",
    'docs/errors.md': '# Errors\n\n### `ERR_B`\n\n### `ERR_C`\n',
  };
  assert.deepEqual(texts(t, files), ['ERR_A has no heading', 'ERR_C is not an error code']);
});

test('large files belong to the vectors', (t) => {
  const big = 'x'.repeat(1_100_000);
  assert.deepEqual(findings(t, { 'test/vectors/a.bin': big, 'src/lib/b.bin': big }), [
    'size: src/lib/b.bin',
  ]);
});

test('a page has one title, and its links lead somewhere', (t) => {
  const files = {
    'docs/a.md':
      '# A\n\n```sh\n# no title\n```\n[b](b.md#x) [c](../src/c) `[d](e)` [f](https://g) [h](#i)',
    'docs/b.md': 'no title',
  };
  assert.deepEqual(findings(t, files).toSorted(), ['link: docs/a.md', 'title: docs/b.md']);
});

test('decisions are numbered without a gap and state their status', (t) => {
  const files = {
    'docs/adr/0001-a.md': '# 0001 A\n\nStatus: accepted\n',
    'docs/adr/0003-b.md': '# 0002 B\n\nStatus: superseded by 0001\n',
    'docs/adr/0004-c.md': '# 0003 C\n',
  };
  assert.deepEqual(findings(t, files), [
    'adr: docs/adr/0003-b.md',
    'adr: docs/adr/0004-c.md',
    'adr: docs/adr/0004-c.md',
  ]);
});
