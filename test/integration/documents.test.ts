/** What the documents tell people to type works. */
import assert from 'node:assert/strict';
import { existsSync, globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { AjvJsonSchemaValidator } from '@modelcontextprotocol/sdk/validation/ajv';
import { parse } from 'yaml';
import { configJsonSchema } from '../../src/config/json-schema.ts';
import { parseConfig } from '../../src/config/load.ts';
import { OURS, runProgram } from '../support/program.ts';
import { tempDir } from '../support/temp-dir.ts';

const ROOT = join(import.meta.dirname, '../..');
const DOCUMENTS: readonly string[] = ['README.md', ...globSync('docs/*.md', { cwd: ROOT })];

interface Block {
  readonly document: string;
  readonly language: string;
  readonly text: string;
}

function blocks(): Block[] {
  return DOCUMENTS.flatMap((document) => {
    const text = readFileSync(join(ROOT, document), 'utf8');
    return [...text.matchAll(/^```(\w+)\n(.*?)^```$/gms)].map(([, language = '', body = '']) => ({
      document,
      language,
      text: body,
    }));
  });
}

/** Command lines of this program, without what follows a `#`. */
function commandLines(): { readonly document: string; readonly words: readonly string[] }[] {
  return blocks()
    .filter(({ language }) => language === 'sh')
    .flatMap(({ document, text }) =>
      text.split('\n').flatMap((line) => {
        const [, rest] = /^(?:bin\/)?litestream (.+)$/.exec(line) ?? [];
        const words = rest
          ?.replace(/ +#.*$/, '')
          .trim()
          .split(/ +/);
        return words === undefined ? [] : [{ document, words }];
      }),
    );
}

test('CFG-12: every command line of the documents has a command and flags that exist', () => {
  const lines = commandLines();
  assert.ok(lines.length > 2);
  for (const { document, words } of lines) {
    const [name = '', ...rest] = words;
    const { status, stdout } = runProgram(OURS, name, '-h');
    assert.equal(status, 0, `${document}: ${name}`);
    for (const word of rest.filter((one) => /^-[a-z]/.test(one))) {
      const [flag = ''] = word.split('=', 1);
      assert.match(stdout, new RegExp(`^ {4}${flag}( |$)`, 'm'), `${document}: ${words.join(' ')}`);
    }
  }
});

test('CFG-12: every configuration of the documents is read without a warning', () => {
  const options = { environment: {}, expandEnv: true, pid: 1 };
  const fits = new AjvJsonSchemaValidator().getValidator(configJsonSchema());
  for (const { document, language, text } of blocks()) {
    if (language !== 'yaml' && language !== 'yml') continue;
    if (/^(groups|services|scrape_configs):/m.test(text)) continue;
    assert.deepEqual(parseConfig(text, options).warnings, [], document);
    assert.equal(fits(parse(text)).errorMessage, undefined, `${document}, by the JSON Schema`);
  }
});

test('CFG-12: what the README tells to type first replicates and restores', (t) => {
  const folder = tempDir(t);
  const app = new DatabaseSync(join(folder, 'app.db'));
  app.exec('PRAGMA journal_mode = wal; CREATE TABLE t (x); INSERT INTO t VALUES (7)');
  mkdirSync(join(folder, 'backup'));
  writeFileSync(
    join(folder, 'litestream.yml'),
    `dbs: [{path: ${folder}/app.db, replica: {path: ${folder}/backup/app}}]`,
  );
  const run = commandLines().filter(
    ({ document, words }) => document === 'README.md' && !words.includes('-timestamp'),
  );
  const seen = new Set<string>();
  const onlyEnv = { PATH: process.env['PATH'] ?? '', HOME: folder };
  const program = { ...OURS, cwd: folder, onlyEnv };
  for (const { words } of run) {
    const [name = '', ...rest] = words.map((word) =>
      word.replace('file:///backup', `file://${folder}/backup`),
    );
    if (name !== 'replicate' && name !== 'restore') continue;
    seen.add(name);
    const args = [name, ...(name === 'replicate' ? ['-once'] : []), ...rest];
    const { status, stdout, stderr } = runProgram(program, ...args);
    assert.equal(status, 0, `${words.join(' ')}: ${stdout}${stderr}`);
  }
  assert.deepEqual([...seen].toSorted(), ['replicate', 'restore']);
  assert.ok(existsSync(join(folder, '.app.db-litestream')), 'the metadata folder');
  using copy = new DatabaseSync(join(folder, 'restored.db'));
  assert.deepEqual({ ...copy.prepare('SELECT x FROM t').get() }, { x: 7 });
  app.close();
});
