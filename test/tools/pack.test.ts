import assert from 'node:assert/strict';
import {
  cpSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { builtinModules } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, before, describe, it } from 'node:test';
import { build } from '../../tools/build.ts';
import { type Finished, runProgram } from '../support/program.ts';

const ROOT = join(import.meta.dirname, '../..');

/** Replicas that need an optional package, and what they say to install. */
const LEFT_OUT: Readonly<Record<string, string>> = {
  's3://bucket/path?region=us-east-1': '@aws-sdk/credential-provider-node',
  'abs://account@container/path': '@azure/storage-blob',
  'gs://bucket/path': 'google-auth-library',
  'nats://127.0.0.1:9/bucket': '@nats-io/transport-node @nats-io/jetstream',
  'sftp://user@127.0.0.1:9/path': 'ssh2',
};

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly bin: Readonly<Record<string, string>>;
  readonly exports: Readonly<Record<string, string>>;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly optionalDependencies: Readonly<Record<string, string>>;
}

const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as Manifest;
const dependencies = [
  ...Object.keys(manifest.dependencies),
  ...Object.keys(manifest.optionalDependencies),
];

function run(command: string, args: readonly string[], cwd: string): Finished {
  // The Node.js of this checkout first: the program's first line asks for `node`.
  const PATH = `${dirname(process.execPath)}:${process.env['PATH'] ?? ''}`;
  const onlyEnv = { PATH, HOME: cwd };
  return runProgram({ name: 'the package', path: command, cwd, onlyEnv }, ...args);
}

function succeed(command: string, args: readonly string[], cwd: string): string {
  const { status, stdout, stderr } = run(command, args, cwd);
  assert.equal(status, 0, `${command} ${args.join(' ')}: ${stderr}`);
  return stdout;
}

/** Packs what npm would publish, without touching the checkout. Returns the tarball. */
function pack(folder: string): string {
  const source = join(folder, 'source');
  mkdirSync(source);
  for (const name of ['package.json', 'README.md', 'LICENSE', 'CHANGELOG.md', 'docs', 'src']) {
    cpSync(join(ROOT, name), join(source, name), { recursive: true });
  }
  build(join(source, 'dist'));
  const json = succeed(
    'npm',
    ['pack', '--offline', '--ignore-scripts', '--json', '--pack-destination', folder],
    source,
  );
  const [packed] = JSON.parse(json) as { filename: string }[];
  assert.ok(packed !== undefined);
  return join(folder, packed.filename);
}

/** A project with the package in it. Its dependencies come from the checkout: no test uses the network. */
function install(folder: string, tarball: string): string {
  const project = join(folder, 'project');
  const target = join(project, 'node_modules', manifest.name);
  mkdirSync(target, { recursive: true });
  succeed('tar', ['-xzf', tarball, '--strip-components=1', '-C', target], folder);
  for (const name of dependencies) {
    const link = join(project, 'node_modules', name);
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(join(ROOT, 'node_modules', name), link);
  }
  mkdirSync(join(project, 'node_modules/.bin'));
  for (const [name, path] of Object.entries(manifest.bin)) {
    symlinkSync(join('..', manifest.name, path), join(project, 'node_modules/.bin', name));
  }
  return project;
}

/** Names of packages and built-in modules that a compiled file imports. */
function importsOf(text: string): string[] {
  const code = text.replaceAll(/^\s*(\/?\*|\/\/).*$/gm, '');
  const found = code.matchAll(/(?:\bfrom |\bimport\(|^import )'([^'.][^']*)'/gm);
  return [...found].map(([, specifier = '']) => specifier);
}

describe('the published package', () => {
  let folder = '';
  let project = '';
  let installed = '';
  let program = '';
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'litestream-pack-'));
    project = install(folder, pack(folder));
    installed = join(project, 'node_modules', manifest.name);
    program = join(project, 'node_modules/.bin/litestream');
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  it('contains compiled code, its documents and nothing else', () => {
    const files = globSync('**/*', { cwd: installed, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(installed.length + 1));
    for (const name of ['LICENSE', 'README.md', 'dist/cli/bin.js']) {
      assert.ok(files.includes(name), name);
    }
    const known = /^(LICENSE|README\.md|package\.json|dist\/.+\.(js|js\.map|d\.ts|schema\.json))$/;
    assert.deepEqual(
      files.filter((name) => !known.test(name)),
      [],
    );
    assert.deepEqual(
      files.filter((name) => /\.test\.|testing\//.test(name)),
      [],
    );
    for (const target of Object.values(manifest.exports)) {
      assert.ok(files.includes(target.replace('./', '')), target);
    }
  });

  it('has the JSON Schema of the configuration, with a text for every key', () => {
    const name = manifest.exports['./litestream.schema.json'] ?? '';
    const schema = JSON.parse(readFileSync(join(installed, name), 'utf8')) as {
      properties: Readonly<Record<string, { description?: string }>>;
    };
    assert.ok('dbs' in schema.properties);
    for (const [key, { description }] of Object.entries(schema.properties)) {
      assert.ok(description !== undefined && description !== '', key);
    }
  });

  it('imports only what it depends on', () => {
    const allowed = new Set([...dependencies, ...builtinModules]);
    const wrong: string[] = [];
    for (const name of globSync('dist/**/*.js', { cwd: installed })) {
      for (const specifier of importsOf(readFileSync(join(installed, name), 'utf8'))) {
        const [first = '', second = ''] = specifier.replace(/^node:/, '').split('/');
        const wanted = first.startsWith('@') ? `${first}/${second}` : first;
        if (!specifier.startsWith('node:') && !allowed.has(wanted))
          wrong.push(`${name}: ${specifier}`);
      }
    }
    assert.deepEqual(wrong, []);
  });

  it('runs by name and prints its version', () => {
    assert.equal(succeed(program, ['version'], project), `${manifest.version}\n`);
    // The second start finds compiled code beside the program.
    assert.equal(succeed(program, ['version'], project), `${manifest.version}\n`);
    assert.notEqual(globSync('node_modules/.cache/compiled/**/*', { cwd: installed }).length, 0);
  });

  it('replicates, restores and verifies, on threads as well', () => {
    const path = join(project, 'app.db');
    const app = new DatabaseSync(path);
    app.exec('PRAGMA journal_mode = wal; CREATE TABLE t (x)');
    const insert = app.prepare('INSERT INTO t VALUES (randomblob(1 << 20))');
    // More than what is encoded without threads.
    for (let row = 0; row < 24; row++) insert.run();
    const url = `file://${join(project, 'replica')}`;
    const restored = join(project, 'restored.db');
    succeed(program, ['replicate', '-once', path, url], project);
    succeed(program, ['restore', '-integrity-check', 'full', '-o', restored, url], project);
    succeed(program, ['verify', url], project);
    const copy = new DatabaseSync(restored);
    const sums = 'SELECT count(*) AS n, group_concat(hex(substr(x, 1, 64))) AS head FROM t';
    assert.deepEqual(copy.prepare(sums).get(), app.prepare(sums).get());
    copy.close();
    app.close();
  });

  it('shows the help of every command', () => {
    const help = succeed(program, ['help'], project);
    const names = [...help.matchAll(/^ {4}([a-z]+) /gm)].map(([, name = '']) => name);
    assert.ok(names.includes('replicate'));
    for (const name of names) assert.match(succeed(program, [name, '-h'], project), /^usage: /);
  });

  it('names the command that installs a package that was left out', () => {
    // As after `npm install --omit=optional`: only what has to be there.
    const lean = join(folder, 'lean');
    const modules = join(lean, 'node_modules');
    mkdirSync(modules, { recursive: true });
    cpSync(installed, join(modules, manifest.name), { recursive: true });
    for (const name of Object.keys(manifest.dependencies)) {
      mkdirSync(dirname(join(modules, name)), { recursive: true });
      symlinkSync(join(ROOT, 'node_modules', name), join(modules, name));
    }
    const bin = join(modules, manifest.name, 'dist/cli/bin.js');
    for (const [url, packages] of Object.entries(LEFT_OUT)) {
      const done = run(process.execPath, [bin, 'restore', '-o', 'x.db', url], lean);
      assert.equal(done.status, 1, url);
      assert.ok(
        done.stderr.endsWith(
          `need a package that is not installed; run: npm install ${packages}\n`,
        ),
        done.stderr,
      );
    }
  });

  it('says which Node.js it needs when it is started by an older one', () => {
    // The module says what an old Node.js would say; everything before the check has to work there, too.
    const old = join(project, 'old.mjs');
    writeFileSync(
      old,
      "Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '20.20.2' } });",
    );
    const bin = join(installed, 'dist/cli/bin.js');
    const done = run(process.execPath, ['--import', old, bin, 'version'], project);
    assert.equal(done.status, 1);
    assert.match(
      done.stderr,
      /^Error: Node\.js 24\.15 or newer is needed, this is 20\.20\.2\.\nTry: /,
    );
    assert.equal(done.stdout, '');
  });
});
