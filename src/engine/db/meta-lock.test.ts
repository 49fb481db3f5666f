import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { tempDir } from '../../../test/support/temp-dir.ts';
import { nodeFileSystem } from '../../lib/file-system.ts';
import { MetaLock } from './meta-lock.ts';

const OWNERSHIP = {
  file: { mode: 0o600, uid: -1, gid: -1 },
  directory: { mode: 0o700, uid: -1, gid: -1 },
};

function bench(t: TestContext): { meta: string; path: string; lock: MetaLock } {
  const meta = join(tempDir(t), 'meta');
  return { meta, path: join(meta, 'lock'), lock: new MetaLock(meta, nodeFileSystem) };
}

test('the lock names this process, and goes when it is released', async (t) => {
  const { lock, meta, path } = bench(t);
  await lock.acquire(meta, OWNERSHIP);
  await lock.acquire(meta, OWNERSHIP);
  assert.ok(readFileSync(path, 'utf8').startsWith(`${process.pid} `));
  await lock.release();
  assert.equal(existsSync(path), false);
});

test('a living process keeps others out; once it is killed its lock means nothing', async (t) => {
  const { lock, meta, path } = bench(t);
  await lock.acquire(meta, OWNERSHIP);
  await lock.release();
  const other = spawn('sleep', ['60']);
  t.after(() => other.kill('SIGKILL'));
  await once(other, 'spawn');
  const stat = readFileSync(`/proc/${other.pid ?? 0}/stat`, 'utf8');
  const startedAt = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  writeFileSync(path, `${other.pid ?? 0} ${startedAt ?? ''}\n`);
  await assert.rejects(lock.acquire(meta, OWNERSHIP), { code: 'ERR_LOCKED' });
  other.kill('SIGKILL');
  await once(other, 'exit');
  await lock.acquire(meta, OWNERSHIP);
  assert.ok(readFileSync(path, 'utf8').startsWith(`${process.pid} `));
});

test('a later process with the same number is not the one that held the lock', async (t) => {
  const { lock, meta, path } = bench(t);
  await lock.acquire(meta, OWNERSHIP);
  await lock.release();
  writeFileSync(path, `${process.ppid} 1\n`);
  await lock.acquire(meta, OWNERSHIP);
  assert.ok(existsSync(path));
});

test('a lock file that makes no sense is replaced', async (t) => {
  const { lock, meta, path } = bench(t);
  await lock.acquire(meta, OWNERSHIP);
  await lock.release();
  writeFileSync(path, 'half a li');
  await lock.acquire(meta, OWNERSHIP);
  assert.ok(readFileSync(path, 'utf8').startsWith(`${process.pid} `));
});
