import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { tempDir } from '../support/temp-dir.ts';

const ROOT = join(import.meta.dirname, '../..');

/** Mistakes that silently stop a replication loop or hide a failure, each with the rule that must see it. */
const PLANTED: Readonly<Record<string, string>> = {
  'typescript(no-floating-promises)': 'export function a(): void { Promise.resolve(1); }',
  'typescript(no-misused-promises)':
    'export function a(x: Promise<boolean>): number { if (x) return 1; return 2; }',
  'typescript(strict-void-return)':
    'declare function on(f: () => void): void; export function a(): void { on(async () => { await Promise.resolve(); }); }',
  'typescript(await-thenable)': 'export async function a(): Promise<void> { await 1; }',
  'typescript(return-await)':
    'export async function a(p: Promise<number>): Promise<number> { try { return p; } catch { return 1; } }',
  'typescript(switch-exhaustiveness-check)':
    "export function a(x: 'a' | 'b'): void { switch (x) { case 'a': break; } }",
  'typescript(only-throw-error)': "export function a(): void { throw 'text'; }",
  'typescript(no-explicit-any)': 'export type A = any;',
  'typescript(no-unsafe-assignment)':
    "export function a(): void { const x: unknown = JSON.parse('1'); const y: number = JSON.parse('1'); void x; void y; }",
  'typescript(no-unsafe-type-assertion)':
    'export function a(x: unknown): string { return x as string; }',
  'typescript(no-unnecessary-condition)':
    'export function a(x: string): string { return x ?? "b"; }',
  'typescript(no-non-null-assertion)':
    'export function a(x: string | undefined): string { return x!; }',
  'typescript(restrict-template-expressions)':
    'export function a(x: object): string { return `${x}`; }',
  'typescript(unbound-method)':
    'class X { v = 1; m(): number { return this.v; } } export const a: () => number = new X().m;',
  'typescript(consistent-type-imports)': "export type A = import('./other.ts').Other;",
  'eslint(max-params)':
    'export function a(b: 1, c: 1, d: 1, e: 1, f: 1): number[] { return [b, c, d, e, f]; }',
  'eslint(max-lines-per-function)': `export function a(): void {${'\n'.repeat(80)}}`,
  'eslint(max-lines)': `export const a = 1;${'\n'.repeat(600)}`,
  'eslint(no-restricted-globals)': 'export const a = (): number => Date.now();',
  'import(no-default-export)': 'export default 1;',
  'node(no-process-env)': 'export const a = process.env.HOME;',
};

function lint(cwd: string): { rules: ReadonlySet<string>; files: number } {
  const { stdout } = spawnSync(
    process.execPath,
    [join(ROOT, 'node_modules/oxlint/bin/oxlint'), '--type-aware', '--format', 'json'],
    {
      cwd,
      encoding: 'utf8',
      maxBuffer: 64 << 20,
      env: { ...process.env, OXLINT_TSGOLINT_PATH: join(ROOT, 'node_modules/.bin/tsgolint') },
    },
  );
  const report = JSON.parse(stdout) as { diagnostics: { code: string }[]; number_of_files: number };
  return {
    rules: new Set(report.diagnostics.map(({ code }) => code.replace('-eslint', ''))),
    files: report.number_of_files,
  };
}

function plant(t: TestContext, files: Readonly<Record<string, string>>): string {
  const root = tempDir(t);
  cpSync(join(ROOT, '.oxlintrc.json'), join(root, '.oxlintrc.json'));
  cpSync(join(ROOT, 'tsconfig.json'), join(root, 'tsconfig.json'));
  symlinkSync(join(ROOT, 'node_modules'), join(root, 'node_modules'));
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  }
  return root;
}

test('every rule that matters fires on a planted mistake, type-aware ones included', (t) => {
  const sources = Object.values(PLANTED).map((text, n) => [`src/engine/planted-${n}.ts`, text]);
  const { rules, files } = lint(plant(t, Object.fromEntries(sources) as Record<string, string>));
  assert.ok(files >= sources.length, `only ${files} files seen`);
  assert.deepEqual(
    Object.keys(PLANTED).filter((rule) => !rules.has(rule)),
    [],
    'rules that stayed silent',
  );
});

test('the clock, the environment and the process belong to their folders', (t) => {
  const uses = 'export const a = (): number => Date.now() + Number(process.env["X"]);';
  const { rules } = lint(plant(t, { 'src/cli/a.ts': uses, 'tools/a.ts': uses }));
  assert.deepEqual([...rules], []);
});
