/** What Windows does otherwise, as far as it can be seen elsewhere: modules that believe to be there. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';

const ROOT = join(import.meta.dirname, '../..');

/** Runs code that sees another platform, and returns what it prints as JSON. */
function on(platform: NodeJS.Platform, code: string): unknown {
  const pretend = `Object.defineProperty(process, 'platform', { value: '${platform}' });`;
  const args = ['--input-type=module', '-e', `${pretend}\n${code}`];
  const { status, stderr, stdout } = spawnSync(process.execPath, args, {
    cwd: ROOT,
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout);
}

test('NODE-12 folders are not synced on Windows, where that fails', () => {
  const code = `
    const { nodeFileSystem } = await import('./src/lib/file-system.ts');
    const done = await nodeFileSystem.syncDirectory('test', './no-such-folder').then(() => 'done', () => 'failed');
    console.log(JSON.stringify(done));`;
  assert.equal(on('win32', code), 'done');
  assert.equal(on('linux', code), 'failed');
});

test('NODE-12 on Windows Ctrl-C, Ctrl-Break and the end of the console end the daemon in order', () => {
  const code = `
    const { SignalQueue } = await import('./src/cli/signals.ts');
    const known = new Map();
    process.on = (name, listener) => (known.set(name, listener), process);
    const queue = new SignalQueue();
    const taken = [];
    queue.handle((signal) => taken.push(signal));
    for (const [name, listener] of known) listener(name);
    console.log(JSON.stringify([[...known.keys()], taken]));`;
  const windows = ['SIGINT', 'SIGBREAK', 'SIGHUP'];
  assert.deepEqual(on('win32', code), [windows, windows]);
  const heard = ['SIGINT', 'SIGTERM', 'SIGUSR1', 'SIGUSR2'];
  assert.deepEqual(on('linux', code), [heard, ['SIGINT', 'SIGTERM']]);
});
