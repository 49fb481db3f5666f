import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { type FileSystem, nodeFileSystem } from './file-system.ts';
import { besideDatabase, fastestFor, localFileSystem } from './local-file-system.ts';
import { systemClock } from './clock.ts';
import { LoopTurns } from './loop-turns.ts';
import { osErrorCode } from './os-error.ts';

function tempDir(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'litestream-local-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

async function messageOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  return 'no error';
}

/** What a file system answers to the same questions, with the folder's name taken out. */
async function answers(fs: FileSystem, folder: string): Promise<readonly unknown[]> {
  const at = (name: string): string => join(folder, name);
  const said: unknown[] = [];
  const say = async (work: Promise<unknown>): Promise<void> => {
    said.push((await messageOf(work)).replaceAll(folder, 'F'));
  };
  const file = await fs.open('t', at('a'), 'create', 0o640);
  await file.write('t', new TextEncoder().encode('hello world'), 0);
  await file.write('t', new Uint8Array(300_000).fill(7), 11);
  const large = new Uint8Array(400_000);
  said.push(await file.read('t', large, 0), large[300_010], large[300_011]);
  await file.setTimes('t', 1_735_689_600_123);
  await file.setOwner('t', { mode: 0o600, uid: -1, gid: -1 });
  await file.sync('t');
  const { kind, mode, mtimeMs, size } = await file.stat('t');
  said.push(kind, mode, Math.floor(mtimeMs), size);
  await file.truncate('t', 5);
  await file.close();
  said.push(readFileSync(at('a'), 'utf8'));
  await say(fs.open('t', at('a'), 'create-new'));
  await say(fs.open('t', at('none'), 'read'));
  await say(fs.rename('t', at('none'), at('b')));
  await fs.link('t', at('a'), at('b'));
  await say(fs.link('t', at('a'), at('b')));
  await fs.rename('t', at('b'), at('c'));
  await fs.copy('t', at('c'), at('d'));
  await say(fs.copy('t', at('none'), at('d')));
  await say(fs.remove('t', at('none')));
  await say(fs.remove('t', folder));
  said.push((await fs.list('t', folder)).toSorted(), await fs.list('t', at('none')));
  await say(fs.list('t', at('a')));
  await say(fs.list('t', at('a/below')));
  await say(fs.list('t', at('a/below/it')));
  await say(fs.stat('t', at('a/below')));
  await say(fs.stat('t', at('a/below/it')));
  said.push(await fs.list('t', at('none/below')), await fs.stat('t', at('none/below')));
  said.push(await fs.stat('t', at('none')), (await fs.stat('t', folder))?.kind);
  await fs.makeDirectory('t', at('x/y/z'), { mode: 0o750, uid: -1, gid: -1 });
  await fs.makeDirectory('t', at('x/y/z'));
  said.push(statSync(at('x/y')).mode & 0o777, statSync(at('x/y/z')).mode & 0o777);
  await say(fs.makeDirectory('t', at('a')));
  await say(fs.makeDirectory('t', at('a/b')));
  await fs.syncDirectory('t', at('x'));
  await say(fs.syncDirectory('t', at('none')));
  await fs.removeTree('t', at('x'));
  said.push((await fs.list('t', folder)).toSorted());
  return said;
}

test('calls that are made at once answer as those of another thread', async (t) => {
  const expected = await answers(nodeFileSystem, tempDir(t));
  assert.deepEqual(await answers(localFileSystem, tempDir(t)), expected);
});

test('a folder that exists and takes no others is an error, and not tried for ever', async (t) => {
  if (process.platform !== 'linux') return t.skip('no /proc on this system');
  const path = '/proc/none/replica/ltx';
  const expected = await messageOf(nodeFileSystem.makeDirectory('t', path));
  assert.equal(await messageOf(localFileSystem.makeDirectory('t', path)), expected);
});

test('a file is closed behind the calls of other threads, and its number is not used any more', async (t) => {
  const path = join(tempDir(t), 'a');
  const file = await localFileSystem.open('t', path, 'create');
  const order: string[] = [];
  const written = file.write('t', new Uint8Array(4_000_000), 0).then(() => order.push('written'));
  const synced = file.sync('t').then(() => order.push('synced'));
  const closed = file.close().then(() => order.push('closed'));
  const results = await Promise.allSettled([written, synced, closed]);
  assert.equal(order.at(-1), 'closed');
  // The pieces that had not begun are refused: another file may have the number.
  assert.equal(results[0].status, 'rejected');
  await assert.rejects(file.stat('t'), (error) => osErrorCode(error) === 'EBADF');
  await file.close();
});

test('work that never waits leaves the event loop its turns', async () => {
  const turns = new LoopTurns(systemClock, 5);
  let ticks = 0;
  let done = false;
  const tick = (): void => {
    ticks++;
    if (!done) setImmediate(tick);
  };
  setImmediate(tick);
  const worker = async (): Promise<void> => {
    for (let call = 0; call < 50; call++) {
      while (turns.isOver()) await turns.next();
      const until = systemClock.monotonic() + 1;
      while (systemClock.monotonic() < until);
    }
  };
  await Promise.all([worker(), worker(), worker()]);
  done = true;
  assert.ok(ticks >= 10, `${ticks} turns while 150 ms of work were done`);
});

test('only a disk of this machine is called at once, and only by whom nobody has put something in between', async (t) => {
  const folder = tempDir(t);
  const wrapped = { ...nodeFileSystem };
  const database = join(folder, 'app.db');
  assert.equal(besideDatabase(wrapped), wrapped);
  assert.equal(await fastestFor(wrapped, folder, database), wrapped);
  assert.equal(besideDatabase(nodeFileSystem), localFileSystem);
  if (process.platform !== 'linux') return;
  const missing = await fastestFor(nodeFileSystem, join(folder, 'a/b/c'), database);
  assert.equal(missing, await fastestFor(nodeFileSystem, folder, database));
  // Not a disk: as unknown as one behind a network.
  assert.equal(await fastestFor(nodeFileSystem, '/proc/self', '/proc/self/db'), nodeFileSystem);
  // A disk that the database is not on may hang alone.
  assert.equal(await fastestFor(nodeFileSystem, folder, '/proc/self/db'), nodeFileSystem);
  writeFileSync(join(folder, 'file'), '');
  assert.equal(
    await fastestFor(nodeFileSystem, join(folder, 'file/below'), database),
    nodeFileSystem,
  );
});

test('a pipe in the way of a file does not stop the event loop', async (t) => {
  if (process.platform !== 'linux') return;
  const folder = tempDir(t);
  const [pipe, other, from] = ['pipe', 'other', 'from'].map((name) => join(folder, name));
  assert.ok(pipe !== undefined && other !== undefined && from !== undefined);
  assert.equal(spawnSync('mkfifo', [pipe, other]).status, 0);
  writeFileSync(from, 'hello');
  const copied = localFileSystem.copy('t', from, pipe);
  // Whoever writes waits for a reader, in a thread.
  const reader = await localFileSystem.open('t', pipe, 'read');
  await copied.catch(() => undefined);
  await reader.close();
  await (await localFileSystem.open('t', other, 'create')).close();
  await (await localFileSystem.open('t', other, 'read')).close();
});
