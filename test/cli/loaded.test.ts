/** What a command loads is most of what a short one takes. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { OURS, runProgram } from '../support/program.ts';
import { tempDir } from '../support/temp-dir.ts';

/** Paths below `src/`, and names of packages and built-in modules, in the order in which a command asks for them. */
function loadedBy(t: TestContext, ...args: readonly string[]): string[] {
  const folder = tempDir(t);
  const hooks = join(folder, 'hooks.mjs');
  const list = join(folder, 'list');
  writeFileSync(
    hooks,
    `import { appendFileSync } from 'node:fs'; import { registerHooks } from 'node:module';
    registerHooks({ load(url, context, next) { appendFileSync(${JSON.stringify(list)}, url + '\\n'); return next(url, context); } });`,
  );
  const env = { NODE_OPTIONS: `--import ${hooks}` };
  const { status, stderr } = runProgram({ ...OURS, env, cwd: folder }, ...args);
  assert.ok(status === 0 || stderr.includes('no matching backup files'), stderr);
  const urls = new Set(readFileSync(list, 'utf8').trimEnd().split('\n'));
  // Sources and what is built of them alike.
  return [...urls].map((url) => url.replace(/^file:.*[/](?:src|dist)[/](.*)[.][jt]s$/, '$1'));
}

test('version loads the command line and nothing behind it', (t) => {
  const loaded = loadedBy(t, 'version');
  const strange = loaded.filter((path) => !/^(node:|cli[/]|lib[/])/.test(path));
  assert.deepEqual(strange, []);
  assert.ok(loaded.includes('cli/commands/version'));
});

test('restore from a folder loads no engine, no SQLite, no configuration file, no HTTP and no package', (t) => {
  const loaded = loadedBy(t, 'restore', '-o', 'restored.db', 'file://nothing');
  const unneeded =
    /node_modules|^(engine|sqlite|compaction|verify|server|mcp|storage[/](http|xml))[/]|^config[/](load|decode|validate|json-schema)$|^node:(sqlite|https?|tls)$/;
  assert.deepEqual(
    loaded.filter((path) => unneeded.test(path)),
    [],
  );
  assert.ok(loaded.includes('restore/restore'));
});
