/** Whatever tests start or listen to is searched for secrets: a planted leak is found, and there is no way around the search. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { globSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { tempDir } from '../support/temp-dir.ts';

const ROOT = join(import.meta.dirname, '../..');

/** Tests that have to fail, by what their failure has to name. */
const LEAKS: Readonly<Record<string, string>> = {
  'stdout of "leaky x"': `runProgram(leaky('echo "$SECRET"'), 'x')`,
  'stderr of "leaky x"': `await runBeside(leaky('echo "$SECRET" >&2'), 'x')`,
  'stdout of "leaky base64"': `runProgram(leaky('printf "user:%s" "$SECRET" | base64 -w 0'), 'base64')`,
  'stdout of "leaky url"': `runProgram(leaky('echo "http://x/?a=b%2Bc&d=%73%61%70%64$(echo $SECRET | cut -c5-)"'), 'url')`,
  'stdout of "leaky header"': `runProgram(leaky('echo "authorization: Basic eA=="'), 'header')`,
  'stdout of "leaky key"': `runProgram(leaky('echo "-----BEGIN RSA PRIVATE KEY-----"'), 'key')`,
  'stdout of "leaky signature"': `runProgram(leaky('echo "https://x/?sv=1&sig=abcdefghijklmnopqrstuv%3D"'), 'signature')`,
  'stdout of "leaky -config"': `runProgram(leaky('echo s3cret-in-a-file'), '-config', config)`,
  'stdout of "leaky"': `runProgram(leaky('echo s3cret-in-a-url'), 'sftp://u:s3cret-in-a-url@host/x')`,
  'log of "leaky daemon"': `await new Daemon(t, leaky('echo "$SECRET"; sleep 60'), 'daemon').line(/./)`,
  'log of "leaky once"': `await new Daemon(t, leaky('echo "$SECRET"'), 'once').ended()`,
  'stdout of "leaky split"': `await new Daemon(t, { ...leaky('echo "$SECRET"; echo y >&2; sleep 60'), split: true }, 'split').line(/y/)`,
  'command line of "leaky child"': `await new Daemon(t, leaky('sh -c "echo y; sleep 60; true" "$SECRET"; true'), 'child').line(/y/)`,
  'the answer of /page': `await get(await serve(t) + '/page')`,
  'the answer of POST /sync': `await ask(await serve(t, join(folder, 's')), 'POST', '/sync')`,
  'a log record "hello"': `new RecordingLogger().with({ a: 1 }).log('info', 'hello', { error: new Error('no', { cause: new Error(secret) }) })`,
  'a log record "retry"': `checkedLogger().log('debug', 'retry', { nested: { url: 'sftp://u:' + secret + '@host' } })`,
  'an error of leaky list': `await Array.fromAsync(guarded(client).list(0)).catch(() => undefined)`,
  'an error of leaky init': `await guarded(client).init().catch(() => undefined)`,
};

/** Tests that must not fail: what they print has the looks of a secret, and is none. */
const CLEAN: readonly string[] = [
  `runProgram({ ...leaky('echo "$SECRET"'), foreign: true }, 'x')`,
  `runProgram(leaky('echo "https://x/?sig=***&b=c" "token: none" "s3://bucket?secret=***"'), 'x')`,
  `assert.match((await new Daemon(t, leaky('echo y; sleep 60'), 'x', secret).line(/./)), /y/)`,
];

const HEAD = `
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ask } from 'SUPPORT/control.ts';
import { RecordingLogger } from 'SUPPORT/engine.ts';
import { checkedLogger, guarded } from 'SUPPORT/guarded.ts';
import { get } from 'SUPPORT/http.ts';
import { Daemon, runBeside, runProgram } from 'SUPPORT/program.ts';
import { makeSecret } from 'SUPPORT/secrets.ts';
import { tempDir } from 'SUPPORT/temp-dir.ts';
const secret = makeSecret('planted', 'sapd"\\\\+/');
const leaky = (script) => ({ name: 'leaky', path: '/dev/null', env: { SECRET: secret }, before: ['sh', '-c', script] });
const client = {
  type: 'leaky',
  location: 'x',
  init: () => Promise.reject(Object.assign(new Error('no'), { details: { given: secret } })),
  async *list() { throw new Error('bad login: ' + secret) },
};
function serve(t, path = 0) {
  return new Promise((resolve) => {
    const server = createServer((request, response) => response.setHeader('x-test', secret).end('text'));
    t.after(() => (server.close(), server.closeAllConnections()));
    server.listen(path, () => resolve(path || 'http://127.0.0.1:' + server.address().port));
  });
}
`;

function body(name: string, code: string): string {
  return `test(${JSON.stringify(name)}, async (t) => {
  const folder = tempDir(t);
  const config = join(folder, 'c.yml');
  writeFileSync(config, 'dbs: [{path: a, replica: {password: s3cret-in-a-file}}]');
  ${code};
});\n`;
}

/** Runs test code in a process of its own; the results by the names of the tests. */
function results(folder: string, code: string): { failed: Map<string, string>; output: string } {
  const file = join(folder, 'planted.test.ts');
  writeFileSync(file, HEAD.replaceAll('SUPPORT', join(ROOT, 'test/support')) + code);
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const args = ['--test', '--test-reporter=tap', file];
  const { stdout, stderr } = spawnSync(process.execPath, args, { env, encoding: 'utf8' });
  const failed = new Map<string, string>();
  for (const part of stdout.split(/^(?=(?:not )?ok )/m)) {
    const [, name] = /^not ok \d+ - (.*)$/m.exec(part) ?? [];
    if (name !== undefined) failed.set(name.replaceAll('\\', ''), part);
  }
  return { failed, output: stdout + stderr };
}

test('a secret in anything that the program tells fails the test that made it tell', (t) => {
  const code = Object.entries(LEAKS).map(([name, planted]) => body(name, planted));
  const clean = CLEAN.map((planted, index) => body(`clean ${index}`, planted));
  const { failed, output } = results(tempDir(t), [...code, ...clean].join(''));
  assert.deepEqual([...failed.keys()], Object.keys(LEAKS), output);
  for (const [name, told] of failed)
    assert.ok(
      told.split('\n').slice(1).join('\n').replaceAll('\\"', '"').includes(`${name}`),
      told,
    );
  assert.doesNotMatch(output, /sapd["\\]/, 'the message shows the secret');
});

/** Every file that is only there for tests. */
const TEST_FILES = globSync(['test/**/*.ts', 'src/**/*.test.ts', 'src/testing/**/*.ts'], {
  cwd: ROOT,
});
const THIS = 'test/tools/program-secrets.test.ts';

/** Ways around the search: which files may use them, and why. */
const WAYS_AROUND: readonly {
  readonly what: string;
  readonly pattern: RegExp;
  readonly where?: RegExp;
  readonly allowed: readonly string[];
}[] = [
  {
    what: 'starts the program by itself: use test/support/program.ts',
    pattern: /node:child_process[^]*(?:bin\/litestream|cli\/bin\b)|OURS\.path|\bLITESTREAM_BIN\b/,
    allowed: ['test/support/program.ts'],
  },
  {
    what: 'lets others start the program: search what it prints, and name the file here',
    pattern: /startedByOthers/,
    allowed: ['test/support/program.ts', 'test/cli/mcp.test.ts'],
  },
  {
    what: 'asks the program by itself: use test/support/http.ts and control.ts',
    pattern: /\bfetch\(|IncomingMessage/,
    where: /^test\/(?:cli|integration|interop)\//,
    allowed: [],
  },
  {
    what: 'has a logger of its own: use checkedLogger or RecordingLogger',
    pattern: /: Logger = \{|implements Logger\b/,
    // A simulated store has no login.
    allowed: [
      'test/support/engine.ts',
      'test/support/guarded.ts',
      'test/simulation/harness/engine.ts',
    ],
  },
  {
    what: 'opens a store unguarded: use test/support/guarded.ts',
    pattern: /import \{[^}]*\bopenReplica\b[^}]*\} from '[./]*src\/storage\/index\.ts'/,
    where: /^test\/(?:backends|cli|integration|interop)\//,
    allowed: [],
  },
  {
    what: 'knows a published key by heart: use makeSecretKey',
    pattern: /Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6/,
    allowed: [],
  },
];

test('nothing in the tests goes around the search for secrets', () => {
  assert.ok(TEST_FILES.length > 100, 'the tests are there');
  for (const { what, pattern, where = /^/, allowed } of WAYS_AROUND) {
    const found = TEST_FILES.filter(
      (file) =>
        file !== THIS && where.test(file) && pattern.test(readFileSync(join(ROOT, file), 'utf8')),
    );
    assert.deepEqual(
      found.filter((file) => !allowed.includes(file)),
      [],
      what,
    );
    const idle = allowed.filter((file) => !found.includes(file));
    assert.deepEqual(idle, [], `no longer ${what}`);
  }
});
