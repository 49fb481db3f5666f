import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { tempDir } from '../support/temp-dir.ts';

const ROOT = join(import.meta.dirname, '../..');
/** Fewer modules than this mean that the tool has looked at nothing, which it reports as success. */
const MODULES_MIN = 20;

interface Violation {
  readonly from: string;
  readonly to: string;
  readonly rule: { readonly name: string };
}
interface Rule {
  readonly name: string;
  readonly from: { readonly path?: string };
  readonly to: { readonly path?: string | readonly string[]; readonly pathNot?: string };
}
interface Report {
  readonly totalCruised: number;
  readonly violations: readonly Violation[];
  readonly ruleSetUsed: { readonly forbidden: readonly Rule[] };
}

function cruise(cwd: string): Report {
  const output = execFileSync(
    process.execPath,
    [
      join(ROOT, 'node_modules/dependency-cruiser/bin/dependency-cruiser.mjs'),
      '--config',
      join(ROOT, '.dependency-cruiser.mjs'),
      '--output-type',
      'json',
      'src',
    ],
    { cwd, encoding: 'utf8', maxBuffer: 64 << 20, stdio: ['ignore', 'pipe', 'ignore'] },
  );
  return (JSON.parse(output) as { summary: Report }).summary;
}

/** A tree of source files: path below the folder → content. */
function plant(t: TestContext, files: Readonly<Record<string, string>>): string {
  const root = tempDir(t);
  const all = { 'tsconfig.json': '{ "include": ["src"] }', 'package.json': '{}', ...files };
  for (const [path, content] of Object.entries(all)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  }
  return root;
}

/** One file per rule that breaks it; rules of the table are derived, the others are written down. */
function plantedViolations(rules: readonly Rule[]): Record<string, string> {
  const layers = rules.map((rule) => /^layer-(.*)$/.exec(rule.name)?.[1] ?? '').filter(Boolean);
  const files: Record<string, string> = {};
  for (const layer of layers) files[`src/${layer}/index.ts`] = 'export const x = 1;';
  for (const { name, to } of rules) {
    const layer = /^layer-(.*)$/.exec(name)?.[1];
    const home = /^home-of-(.*)$/.exec(name)?.[1];
    if (layer !== undefined) {
      const other = layers.find((one) => !new RegExp(to.pathNot ?? '').test(`src/${one}/`));
      assert.ok(other !== undefined, `${layer} may import everything`);
      files[`src/${layer}/${name}.ts`] = `import type { x } from '../${other}/index.ts';`;
    }
    if (home !== undefined) {
      const pkg = home.replace(/@\((\w[\w-]*)\|.*\)/, '@$1').replace(/\/$/, '/client');
      files[`src/lib/home-${pkg.replaceAll(/\W/g, '-')}.ts`] = `import '${pkg}';`;
    }
  }
  return {
    ...files,
    'src/attic/index.ts': `import '../lib/index.ts';`,
    'src/engine/no-home.ts': `import 'left-pad';`,
    'src/engine/circle-a.ts': `import './circle-b.ts';`,
    'src/engine/circle-b.ts': `import './circle-a.ts';`,
    'src/app/to-testing.ts': `import '../testing/index.ts';`,
    'src/engine/inner.ts': 'export const x = 1;',
    'src/app/front-door.ts': `import '../engine/inner.ts';`,
    'src/formats/ltx/index.ts': `import '../sqlite/index.ts';`,
    'src/formats/sqlite/index.ts': `import 'node:path';`,
    'src/storage/providers/s3/index.ts': `import '../file/index.ts';`,
    'src/storage/providers/file/index.ts': `export const x = 1;`,
    'src/storage/registry.ts': `import './providers/file/index.ts';`,
    'src/engine/door.ts': `import { DatabaseSync } from 'node:sqlite'; export const x = DatabaseSync;`,
  };
}

test('the source tree obeys the table, and the tool has seen it', () => {
  const { totalCruised, violations } = cruise(ROOT);
  const found = violations.map(({ rule, from, to }) => `${rule.name}: ${from} -> ${to}`);
  assert.deepEqual(found, []);
  assert.ok(totalCruised >= MODULES_MIN, `only ${totalCruised} modules seen`);
});

test('every rule fires on a planted violation', (t) => {
  const rules = cruise(plant(t, { 'src/lib/a.ts': 'export const x = 1;' })).ruleSetUsed.forbidden;
  assert.ok(rules.length > 30, `only ${rules.length} rules in force`);
  const { violations } = cruise(plant(t, plantedViolations(rules)));
  const fired = new Set(violations.map((violation) => violation.rule.name));
  assert.deepEqual(
    rules.map((rule) => rule.name).filter((name) => !fired.has(name)),
    [],
    'rules that stayed silent',
  );
});

test('what the table allows passes, with type imports, lazy providers and `using`', (t) => {
  const root = plant(t, {
    'src/lib/a.ts': 'export const x = 1;',
    'src/formats/ltx/index.ts': `import { x } from '../../lib/a.ts'; export const y = x;`,
    'src/storage/contract.ts': `import type { y } from '../formats/ltx/index.ts'; export type Z = typeof y;`,
    'src/storage/registry.ts': `export const open = () => import('./providers/file/index.ts');`,
    'src/storage/providers/file/index.ts': `import type { Z } from '../../contract.ts'; export type Q = Z;`,
    'src/sqlite/index.ts': `import { DatabaseSync } from 'node:sqlite';
      export function f() { using db = new DatabaseSync(':memory:'); for (using x of []) { void x; } return db; }`,
    'src/sqlite/index.test.ts': `import '../engine/index.ts';`,
    'src/engine/index.ts': `import { f } from '../sqlite/index.ts'; export const g = f;`,
  });
  const { violations, totalCruised } = cruise(root);
  assert.deepEqual(violations, []);
  assert.ok(totalCruised >= 7);
});

test('a type import in the wrong direction is a violation', (t) => {
  const root = plant(t, {
    'src/lib/a.ts': `import type { X } from '../engine/index.ts'; export type Y = X;`,
    'src/engine/index.ts': 'export type X = 1;',
  });
  const fired = cruise(root).violations.map((violation) => violation.rule.name);
  assert.ok(fired.includes('layer-lib'), `fired: ${fired.join(', ')}`);
});
