import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { FakeClock } from '../testing/fake-clock.ts';
import { FaultyFileSystem } from '../testing/faulty-file-system.ts';
import { nodeFileSystem } from './file-system.ts';
import { osErrorCode } from './os-error.ts';
import { whileOpen } from './while-open.ts';

/** A file to be renamed, in a file system that refuses some calls. */
function scene(t: TestContext): {
  files: FaultyFileSystem;
  folder: string;
  rename: () => Promise<void>;
} {
  const folder = mkdtempSync(join(tmpdir(), 'while-open-'));
  t.after(() => {
    rmSync(folder, { recursive: true });
  });
  writeFileSync(join(folder, 'a'), 'x');
  const files = new FaultyFileSystem(nodeFileSystem);
  return {
    files,
    folder,
    rename: () => files.rename('test:rename', join(folder, 'a'), join(folder, 'b')),
  };
}

function isErrno(errno: string): (error: unknown) => boolean {
  return (error) => osErrorCode(error) === errno;
}

for (const errno of ['EPERM', 'EBUSY', 'EACCES']) {
  test(`NODE-12 on Windows ${errno} of a file that is open is waited for, elsewhere it is final`, async (t) => {
    const { files, folder, rename } = scene(t);
    const clock = new FakeClock();
    for (let nth = 1; nth <= 5; nth += 1) files.fail(errno, { nth });
    await assert.rejects(whileOpen(rename, { platform: 'linux', clock }), isErrno(errno));
    assert.equal(files.calls.length, 1);
    await clock.runUntil(whileOpen(rename, { platform: 'win32', clock }));
    assert.deepEqual(readdirSync(folder), ['b']);
    assert.equal(files.calls.length, 6);
    assert.equal(clock.pending, 0);
  });
}

test('NODE-12 a file that stays open is an error in the end, and other errors are final at once', async (t) => {
  const { files, folder, rename } = scene(t);
  const clock = new FakeClock();
  for (let nth = 1; nth <= 20; nth += 1) files.fail('EBUSY', { nth });
  await assert.rejects(clock.runUntil(whileOpen(rename, { platform: 'win32', clock })));
  assert.equal(files.calls.length, 8);
  assert.deepEqual(readdirSync(folder), ['a']);
  files.reset();
  files.fail('ENOSPC');
  await assert.rejects(whileOpen(rename, { platform: 'win32', clock }));
  assert.equal(files.calls.length, 1);
});
