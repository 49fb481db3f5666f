import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { parseConfig } from '../config/load.ts';
import { resolveDatabases } from './databases.ts';
import { compileGlob } from './glob.ts';

const GLOBS: readonly (readonly [pattern: string, matching: string[], other: string[]])[] = [
  ['*.db', ['a.db', '.db', '.hidden.db'], ['a.db2', 'a.sqlite', 'adb']],
  ['?.db', ['a.db', 'é.db'], ['ab.db', '.db']],
  ['[a-c]x', ['ax', 'cx'], ['dx', 'x']],
  ['[^a-c]x', ['dx', '-x'], ['ax']],
  ['\\*', ['*'], ['a']],
  ['[\\]-]', [], []],
  ['a.b', ['a.b'], ['axb']],
];
for (const [pattern, matching, other] of GLOBS.filter(([, names]) => names.length > 0)) {
  test(`the pattern ${pattern} matches what it should`, () => {
    const matches = compileGlob(pattern);
    for (const name of matching) assert.ok(matches(name), name);
    for (const name of other) assert.ok(!matches(name), name);
  });
}

for (const pattern of ['[', '[]', 'a\\', '[a', '[z-a]', '[-a]', '[a-]']) {
  test(`the pattern ${pattern} is refused`, () => {
    assert.throws(() => compileGlob(pattern), { message: 'syntax error in pattern' });
  });
}

function tenants(context: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'tenants-'));
  context.after(() => rmSync(folder, { recursive: true }));
  mkdirSync(join(folder, 'sub/deep'), { recursive: true });
  for (const name of ['b.db', 'a.db', 'sub/x.db', 'sub/deep/y.db', 'skip.sqlite']) {
    writeFileSync(join(folder, name), 'SQLite format 3\0 and more');
  }
  writeFileSync(join(folder, 'fake.db'), 'SQLite format 4\0 and more');
  writeFileSync(join(folder, 'empty.db'), '');
  symlinkSync(join(folder, 'sub'), join(folder, 'link'));
  return folder;
}

const options = { environment: {}, expandEnv: false, pid: 1 };

test('a folder stands for the databases in it, each with its own place', async (context) => {
  const folder = tenants(context);
  const text = `dbs: [{dir: ${folder}, pattern: '*.db', recursive: yes, meta-dir: /m, replica: {url: 's3://bk/t?endpoint=h:1'}}]`;
  const { databases, directories } = await resolveDatabases(
    parseConfig(text, options).config.databases,
  );
  assert.deepEqual(directories, [{ dir: folder, count: 4, watch: false }]);
  assert.deepEqual(
    databases.map(({ path, metaPath, replicas }) => {
      const location = replicas[0]?.location;
      return [path, metaPath, location?.type === 's3' ? location.path : undefined];
    }),
    ['a.db', 'b.db', 'sub/deep/y.db', 'sub/x.db'].map((name) => [
      join(folder, name),
      `/m/${name}-litestream`,
      `t/${name}`,
    ]),
  );
});

test('folders without databases, missing folders and files of another entry are refused', async (context) => {
  const folder = tenants(context);
  const refused = async (entries: string, message: string): Promise<void> => {
    const { config } = parseConfig(`dbs: [${entries}]`, options);
    await assert.rejects(resolveDatabases(config.databases), { message });
  };
  await refused(
    `{dir: ${folder}, pattern: '*.none', replica: {path: /r}}`,
    `no SQLite databases found in directory ${folder} with pattern *.none`,
  );
  await refused(
    `{dir: ${folder}/no, pattern: '*', replica: {path: /r}}`,
    `failed to scan directory ${folder}/no: lstat ${folder}/no: no such file or directory`,
  );
  await refused(
    `{dir: ${folder}, pattern: '[', replica: {path: /r}}`,
    `failed to scan directory ${folder}: syntax error in pattern`,
  );
  await refused(
    `{dir: ${folder}, pattern: 'a.db', replica: {path: /q}}, {dir: ${folder}, pattern: 'a.db', replica: {path: /r}}`,
    `failed to create DB for ${folder}/a.db: already used by database config #1`,
  );
});

test('OPS-20 a file that a path entry lists under any name is not found in a folder once more', async (context) => {
  const folder = tenants(context);
  symlinkSync(join(folder, 'b.db'), join(folder, 'named.sqlite'));
  const text = `dbs: [
    {dir: ${folder}, pattern: '[ab].db', watch: yes, replica: {path: /r}},
    {path: ${folder}/a.db, replica: {path: /q}}, {path: ${folder}/named.sqlite, replica: {path: /s}}]`;
  const { config } = parseConfig(text, options);
  const { databases, shadowed, watched } = await resolveDatabases(config.databases);
  assert.deepEqual(
    databases.map(({ path }) => path),
    [`${folder}/a.db`, `${folder}/named.sqlite`],
  );
  assert.deepEqual(shadowed, [
    { path: `${folder}/a.db`, dir: folder, listed: `${folder}/a.db` },
    { path: `${folder}/b.db`, dir: folder, listed: `${folder}/named.sqlite` },
  ]);
  assert.deepEqual(
    watched.map(({ known }) => known),
    [[]],
  );
});

test('two databases with one metadata folder are refused', async () => {
  const text = `dbs: [{path: /a, meta-path: /m, replica: {path: /r}}, {path: /b, meta-path: /m, replica: {path: /q}}]`;
  await assert.rejects(resolveDatabases(parseConfig(text, options).config.databases), {
    message:
      'meta-path collision: databases /a and /b would share meta-path /m, causing replication state corruption',
  });
});

test('a bucket of NATS is refused for a folder: it has no folders of its own', async (context) => {
  const folder = tenants(context);
  for (const replica of ["url: 'nats://h:1/b'", 'type: nats, bucket: b']) {
    const text = `dbs: [{dir: ${folder}, pattern: '*.db', replica: {${replica}}}]`;
    const { databases } = parseConfig(text, options).config;
    await assert.rejects(resolveDatabases(databases), /nats replica cannot hold the databases/);
  }
});
