import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { isRequired, parseRequired, summaryLine } from '../../tools/test.ts';
import { tempDir } from '../support/temp-dir.ts';

const RUNNER = join(import.meta.dirname, '../../tools/test.ts');

interface Outcome {
  status: number;
  output: string;
  lastLine: string;
}

/** Runs the runner over one file with this body. */
function runOver(t: TestContext, body: string, required = '', again = ''): Promise<Outcome> {
  const file = join(tempDir(t), 'planted.test.ts');
  writeFileSync(file, `import { describe, test } from 'node:test';\n${body}\n`);
  const { NODE_TEST_CONTEXT: _, ...env } = process.env; // with it the inner runner would think it is a test file
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [RUNNER, file],
      { env: { ...env, LITESTREAM_TEST_REQUIRED: required, LITESTREAM_TEST_AGAIN: again } },
      (_error, stdout, stderr) => {
        const lastLine = stdout.trimEnd().split('\n').at(-1) ?? '';
        resolve({ status: child.exitCode ?? -1, output: stdout + stderr, lastLine });
      },
    );
  });
}

test('counts tests, not the groups around them, and exits 0 when all pass', async (t) => {
  const body = `describe('group', () => { test('a', () => {}); test('b', () => {}); });`;
  const { status, lastLine } = await runOver(t, body);
  assert.equal(lastLine, '2 passed, 0 failed, 0 skipped');
  assert.equal(status, 0);
});

test('names a failing test, shows why, counts it once and exits 1', async (t) => {
  const body = `describe('group', () => { test('breaks', () => { throw new Error('because'); }); });`;
  const { status, output, lastLine } = await runOver(t, body);
  assert.match(output, /FAILED .*: breaks/);
  assert.match(output, /because/);
  assert.equal(lastLine, '0 passed, 1 failed, 0 skipped');
  assert.equal(status, 1);
});

test('a file that does not load is a failure', async (t) => {
  const { status, lastLine } = await runOver(t, `throw new Error('at load');`);
  assert.equal(lastLine, '0 passed, 1 failed, 0 skipped');
  assert.equal(status, 1);
});

test('a broken hook is a failure', async (t) => {
  const body = `import { after } from 'node:test';
    describe('group', () => { after(() => { throw new Error('hook'); }); test('a', () => {}); });`;
  const { status } = await runOver(t, body);
  assert.equal(status, 1);
});

test('a run in which nothing passed is a failure', async (t) => {
  const { status, lastLine } = await runOver(t, `test('a', { skip: 'x: not here' }, () => {});`);
  assert.equal(lastLine, '0 passed, 0 failed, 1 skipped');
  assert.equal(status, 1);
});

test('a skip is shown with its reason', async (t) => {
  const body = `test('a', { skip: 'reference: not installed' }, () => {}); test('b', () => {});`;
  const { status, output, lastLine } = await runOver(t, body);
  assert.match(output, /1 {2}reference: not installed/);
  assert.equal(lastLine, '1 passed, 0 failed, 1 skipped');
  assert.equal(status, 0);
});

test('a skip of something that is required here is a failure', async (t) => {
  const body = `test('a', { skip: 'reference: not installed' }, () => {}); test('b', () => {});`;
  const { status, output, lastLine } = await runOver(t, body, 's3,reference');
  assert.match(output, /skipped although it is required here: reference: not installed/);
  assert.equal(lastLine, '1 passed, 1 failed, 0 skipped');
  assert.equal(status, 1);
});

test('a file with a failure gets its second try only where it is asked for, and is named', async (t) => {
  const marker = join(tempDir(t), 'ran');
  const body = `import { existsSync, writeFileSync } from 'node:fs';
    test('steady', () => {});
    test('second time', () => {
      const first = !existsSync(${JSON.stringify(marker)});
      writeFileSync(${JSON.stringify(marker)}, '');
      if (first) throw new Error('not yet');
    });`;
  const again = await runOver(t, body, '', '1');
  assert.match(again.output, /FAILED .*: second time/);
  assert.match(again.output, /UNSTEADY .*planted\.test\.ts/);
  assert.equal(again.lastLine, '2 passed, 0 failed, 0 skipped');
  assert.equal(again.status, 0);
  rmSync(marker);
  const once = await runOver(t, body);
  assert.equal(once.lastLine, '1 passed, 1 failed, 0 skipped');
  assert.equal(once.status, 1);
});

test('a second failure counts', async (t) => {
  const { lastLine, status } = await runOver(
    t,
    `test('a', () => { throw new Error('x'); });`,
    '',
    '1',
  );
  assert.equal(lastLine, '0 passed, 1 failed, 0 skipped');
  assert.equal(status, 1);
});

test('requirements name a suite, a missing thing, or everything', () => {
  assert.ok(isRequired('interop', 'reference: gone', parseRequired('reference')));
  assert.ok(isRequired('interop', 'reference: gone', parseRequired(' s3 , interop')));
  assert.ok(isRequired('interop', 'no reason given', parseRequired('all')));
  assert.equal(isRequired('interop', 'reference: gone', parseRequired('s3,')), false);
  assert.equal(isRequired('interop', 'reference: gone', parseRequired(undefined)), false);
});

test('the summary adds up', () => {
  const tallies = [
    { passed: 2, failed: 0, skipped: ['a: b'] },
    { passed: 3, failed: 1, skipped: [] },
  ];
  assert.equal(summaryLine(tallies), '5 passed, 1 failed, 1 skipped');
});
