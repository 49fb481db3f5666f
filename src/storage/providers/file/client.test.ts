import assert from 'node:assert/strict';
import {
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { isLitestreamError, LitestreamError } from '../../../lib/errors.ts';
import { nodeFileSystem } from '../../../lib/file-system.ts';
import {
  chunkedSource,
  FaultyFileSystem,
  fileKey,
  listAll,
  ltxLike,
  SimulatedCrash,
} from '../../../testing/index.ts';
import type { ObjectInfo, ReplicaClient, ReplicaOwnership, WriteSource } from '../../contract.ts';
import { bytesSource, fileSource } from '../../sources.ts';
import { collect, readAll } from '../../streams.ts';
import { FileReplicaClient } from './index.ts';

const KEY = fileKey(0, 1);
const NAME = '0000000000000001-0000000000000001.ltx';

let folder: string;
let root: string;
let target: string;

function open(fileSystem = nodeFileSystem, ownership?: () => ReplicaOwnership): FileReplicaClient {
  return new FileReplicaClient({ path: root, fileSystem, ownership });
}

async function filesBelow(path: string): Promise<string[]> {
  const entries = await readdir(path, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map(({ name }) => name);
}

async function localSource(bytes: Uint8Array): Promise<WriteSource> {
  const path = join(folder, 'source');
  await writeFile(path, bytes);
  return fileSource(nodeFileSystem, path, bytes.length);
}

/** Everything a client can be asked for. */
function allCalls(client: ReplicaClient): Readonly<Record<string, () => Promise<unknown>>> {
  return {
    init: () => client.init(),
    list: () => listAll(client, 0),
    read: () => readAll(client, KEY),
    write: () => client.write(KEY, bytesSource(ltxLike(100))),
    delete: () => client.delete([KEY]),
    deleteAll: () => client.deleteAll(),
  };
}

describe('file provider', () => {
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'litestream file é-'));
    root = join(folder, 'replica');
    target = join(root, 'ltx', '0', NAME);
  });
  afterEach(() => rm(folder, { recursive: true }));

  describe('publishing', () => {
    it('gives the file the time of its header, to the millisecond', async () => {
      const client = open();
      for (let n = 0; n < 300; n++) {
        const createdAt = 1_735_689_600_000 + n * 7_919_013;
        await client.write(KEY, bytesSource(ltxLike(100, createdAt)));
        const { mtimeNs, atimeNs } = await stat(target, { bigint: true });
        const above = mtimeNs - BigInt(createdAt) * 1_000_000n;
        assert.ok(above >= 0n && above < 500n, `${createdAt}: ${above} ns above`);
        assert.equal(atimeNs, mtimeNs);
        assert.equal((await listAll(client, 0))[0]?.createdAt, createdAt);
      }
    });

    it('reads times that other programs have set a little below the millisecond', async () => {
      const client = open();
      await client.write(KEY, bytesSource(ltxLike(100)));
      for (const ms of [1_735_689_805_894, 1_700_000_000_001, 999]) {
        await utimes(target, ms / 1000, ms / 1000);
        assert.equal((await listAll(client, 0))[0]?.createdAt, ms);
      }
    });

    it('makes private files and folders by default', async () => {
      const client = open();
      await client.write(KEY, bytesSource(ltxLike(100)));
      await client.write(fileKey(0, 2), await localSource(ltxLike(100)));
      for (const path of [root, join(root, 'ltx'), join(root, 'ltx', '0')]) {
        assert.equal((await stat(path)).mode & 0o7777, 0o700, path);
      }
      for (const { minTxid, maxTxid } of await listAll(client, 0)) {
        const path = client.localPath({ level: 0, minTxid, maxTxid });
        assert.equal((await stat(path)).mode & 0o7777, 0o600, path);
      }
    });

    it('gives new files and folders the permissions of the database', async () => {
      const { uid, gid } = await stat(folder);
      const ownership: ReplicaOwnership = {
        file: { mode: 0o664, uid, gid },
        directory: { mode: 0o775, uid, gid },
      };
      const client = open(nodeFileSystem, () => ownership);
      await client.write(KEY, bytesSource(ltxLike(100)));
      await client.write(fileKey(3, 2), await localSource(ltxLike(100)));
      for (const path of [root, join(root, 'ltx'), join(root, 'ltx', '3')]) {
        assert.equal((await stat(path)).mode & 0o7777, 0o775, path);
      }
      assert.equal((await stat(target)).mode & 0o7777, 0o664);
      assert.equal((await stat(client.localPath(fileKey(3, 2)))).mode & 0o7777, 0o664);
    });

    it('leaves the permissions of folders that exist', async () => {
      await mkdir(root, { mode: 0o750 });
      await chmod(root, 0o750);
      await open().write(KEY, bytesSource(ltxLike(100)));
      assert.equal((await stat(root)).mode & 0o7777, 0o750);
    });

    it('makes names durable: file before rename, folder after it, new parents before', async () => {
      const fileSystem = new FaultyFileSystem(nodeFileSystem);
      const client = open(fileSystem);
      await client.write(KEY, chunkedSource(ltxLike(5000)));
      const { calls } = fileSystem;
      const order = ['file:make-directory', 'file:sync-parent', 'file:write', 'file:set-times'];
      order.push('file:sync', 'file:rename', 'file:sync-directory');
      const positions = order.map((label) => calls.lastIndexOf(label));
      assert.deepEqual(
        positions,
        positions.toSorted((a, b) => a - b),
        calls.join(' '),
      );
      assert.ok(positions.every((position) => position >= 0));
      assert.equal(calls.filter((label) => label === 'file:sync-parent').length, 3);
      fileSystem.reset();
      await client.write(KEY, chunkedSource(ltxLike(5000)));
      assert.ok(!fileSystem.calls.includes('file:sync-parent'), 'once is enough');
    });

    it('syncs the parents of folders that an earlier process may have left unsynced', async () => {
      await open().write(KEY, bytesSource(ltxLike(100)));
      const fileSystem = new FaultyFileSystem(nodeFileSystem);
      await open(fileSystem).write(KEY, bytesSource(ltxLike(100)));
      assert.equal(fileSystem.calls.filter((label) => label === 'file:sync-parent').length, 2);
    });

    it('streams small local sources and large ones, and copies others in the kernel', async () => {
      const fileSystem = new FaultyFileSystem(nodeFileSystem);
      const client = open(fileSystem);
      await client.write(KEY, await localSource(ltxLike(3000)));
      assert.ok(!fileSystem.calls.includes('file:copy'));
      assert.ok(fileSystem.calls.includes('file:write'));
      fileSystem.reset();
      await client.write(KEY, await localSource(ltxLike(90_000)));
      assert.ok(fileSystem.calls.includes('file:copy'));
      assert.ok(!fileSystem.calls.includes('file:write'));
      fileSystem.reset();
      const large = ltxLike(3000);
      const claimed = 65 * 1024 * 1024;
      const source = { ...(await localSource(large)), size: claimed };
      await assert.rejects(client.write(KEY, source), /source has 3000 bytes, expected 68157440/);
      assert.ok(!fileSystem.calls.includes('file:copy'));
    });

    it('copies a large local source piece by piece', async () => {
      const bytes = Buffer.alloc(64 * 1024 * 1024 + 70_001);
      for (const [at, byte] of ltxLike(90_000).entries()) {
        bytes.fill(byte, at * 746, (at + 1) * 746);
      }
      bytes.set(ltxLike(100));
      const source = await localSource(bytes);
      await open().write(KEY, { ...source, stream: () => assert.fail('not streamed') });
      assert.ok((await readFile(target)).equals(bytes));
      const fileSystem = new FaultyFileSystem(nodeFileSystem);
      for (const [label, nth] of [
        ['file:open-source', 1],
        ['file:read-source', 2],
        ['file:write', 2],
        ['file:sync-early', 1],
      ] as const) {
        fileSystem.fail('EIO', { label, nth });
        await assert.rejects(open(fileSystem).write(KEY, source), /input\/output error/, label);
        assert.deepEqual(await filesBelow(root), [NAME]);
        fileSystem.reset();
      }
      const stop = new AbortController();
      const stopping = {
        ...source,
        get path() {
          stop.abort();
          return source.path;
        },
      };
      await assert.rejects(open().write(KEY, stopping, { signal: stop.signal }), {
        code: 'ERR_ABORTED',
      });
      assert.deepEqual(await filesBelow(root), [NAME]);
    });

    it('gives a spare file a second name instead of copying it, and copies where that fails', async () => {
      const bytes = ltxLike(90_000);
      for (const errno of [undefined, 'EXDEV', 'EPERM', 'EMLINK'] as const) {
        const fileSystem = new FaultyFileSystem(nodeFileSystem);
        if (errno !== undefined) fileSystem.fail(errno, { label: 'file:adopt' });
        const source = { ...(await localSource(bytes)), isSpare: true };
        await mkdir(join(root, 'ltx', '0'), { recursive: true });
        await writeFile(`${target}.tmp`, ltxLike(95_000));
        const owner = { mode: 0o640, uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
        await open(fileSystem, () => ({ file: owner })).write(KEY, source);
        assert.equal(fileSystem.calls.includes('file:copy'), errno !== undefined);
        assert.ok(fileSystem.calls.indexOf('file:sync') > fileSystem.calls.indexOf('file:adopt'));
        await rm(join(folder, 'source'));
        assert.ok((await readFile(target)).equals(bytes));
        assert.equal((await stat(target)).mode & 0o7777, 0o640);
        assert.deepEqual(await filesBelow(folder), [NAME]);
      }
    });

    it('leaves a spare file alone when its size is wrong', async () => {
      const source = { ...(await localSource(ltxLike(3000))), isSpare: true, size: 2999 };
      await assert.rejects(open().write(KEY, source), /source has 3000 bytes, expected 2999/);
      assert.deepEqual(await filesBelow(folder), ['source']);
    });

    it("tells of a vanished local source in the source's words", async () => {
      const source = await localSource(ltxLike(3000));
      await rm(join(folder, 'source'));
      await assert.rejects(open().write(KEY, source), {
        code: 'ERR_IO',
        message: `open ${join(folder, 'source')}: no such file or directory`,
      });
      assert.deepEqual(await filesBelow(folder), []);
    });

    it('replaces what an interrupted write has left', async () => {
      await mkdir(join(root, 'ltx', '0'), { recursive: true });
      for (const source of [bytesSource(ltxLike(300)), await localSource(ltxLike(300))]) {
        await writeFile(`${target}.tmp`, ltxLike(90_000));
        await open().write(KEY, source);
        assert.deepEqual(await filesBelow(root), [NAME]);
        assert.equal((await readFile(target)).length, 300);
      }
    });
  });

  describe('locations that cannot be used', () => {
    it('creates nothing before the first write', async () => {
      const client = open();
      await client.init();
      assert.deepEqual(await listAll(client, 0), []);
      await client.delete([KEY]);
      await client.deleteAll();
      assert.deepEqual(await readdir(folder), []);
    });

    it('never takes a plain file in the place of a folder for an empty replica', async () => {
      const places = { root, ltx: join(root, 'ltx'), level: join(root, 'ltx', '0') };
      for (const [place, path] of Object.entries(places)) {
        await mkdir(join(path, '..'), { recursive: true });
        await writeFile(path, 'not a directory');
        for (const [name, call] of Object.entries(allCalls(open()))) {
          if (place !== 'root' && (name === 'init' || name === 'deleteAll')) continue;
          await assert.rejects(
            call(),
            (error: unknown) =>
              isLitestreamError(error, 'ERR_STORAGE') &&
              error.message.endsWith(': not a directory'),
            `${name}, plain file at ${path}`,
          );
        }
        assert.equal(await readFile(path, 'utf8'), 'not a directory');
        await rm(path);
      }
    });

    it('fails in init if a parent is a plain file', async () => {
      await writeFile(join(folder, 'plain'), '');
      const path = join(folder, 'plain', 'a', 'b');
      const client = new FileReplicaClient({ path, fileSystem: nodeFileSystem });
      await assert.rejects(client.init(), {
        code: 'ERR_STORAGE',
        message: `open ${join(folder, 'plain')}: not a directory`,
      });
      await assert.rejects(client.write(KEY, bytesSource(ltxLike(100))), {
        message: `mkdir ${join(folder, 'plain')}: not a directory`,
      });
    });

    it('refuses to delete everything below the root of the file system', async () => {
      const client = new FileReplicaClient({
        path: '/',
        fileSystem: new FaultyFileSystem(nodeFileSystem),
      });
      await assert.rejects(client.deleteAll(), /refusing to delete everything below/);
    });

    const translations = [
      ['EACCES', 'ERR_STORAGE_DENIED', false],
      ['EPERM', 'ERR_STORAGE_DENIED', false],
      ['EROFS', 'ERR_STORAGE_DENIED', false],
      ['ENOSPC', 'ERR_DISK_FULL', true],
      ['EDQUOT', 'ERR_DISK_FULL', true],
      ['EIO', 'ERR_STORAGE_TEMPORARY', true],
      ['EMFILE', 'ERR_STORAGE_TEMPORARY', true],
      ['ESTALE', 'ERR_STORAGE_TEMPORARY', true],
      ['ENAMETOOLONG', 'ERR_STORAGE', false],
    ] as const;
    for (const [errno, code, retryable] of translations) {
      it(`translates ${errno} to ${code} in every call`, async () => {
        await open().write(KEY, bytesSource(ltxLike(100)));
        const fileSystem = new FaultyFileSystem(nodeFileSystem);
        const client = open(fileSystem);
        for (const [name, call] of Object.entries(allCalls(client))) {
          fileSystem.fail(errno);
          await assert.rejects(call(), { code, retryable }, name);
        }
      });
    }

    it("keeps the reference's texts", async () => {
      await open().write(KEY, bytesSource(ltxLike(100)));
      const missing = open().localPath(fileKey(2, 7));
      await assert.rejects(readAll(open(), fileKey(2, 7)), (error: unknown) => {
        assert.ok(error instanceof LitestreamError);
        assert.equal(
          error.message,
          `open ltx file ${missing}: open ${missing}: no such file or directory`,
        );
        const { op, path, level, minTxid, maxTxid } = error.details;
        assert.deepEqual(
          { op, path, level, minTxid, maxTxid },
          { op: 'open', path: missing, ...fileKey(2, 7) },
        );
        return true;
      });
    });

    it('translates what the kernel says, too', async (t) => {
      if (process.getuid?.() === 0) {
        t.diagnostic('root may read everything; a folder in the place of a file is tried instead');
        await mkdir(target, { recursive: true });
        await assert.rejects(readAll(open(), KEY), {
          code: 'ERR_STORAGE',
          message: `read ${target}: is a directory`,
        });
        return;
      }
      await open().write(KEY, bytesSource(ltxLike(100)));
      await chmod(join(root, 'ltx', '0'), 0);
      await assert.rejects(listAll(open(), 0), {
        code: 'ERR_STORAGE_DENIED',
        message: `open ${join(root, 'ltx', '0')}: permission denied`,
      });
      await chmod(join(root, 'ltx', '0'), 0o700);
    });
  });

  describe('listing', () => {
    it('skips files that vanish meanwhile and folders with names of files', async () => {
      const client = open();
      for (let txid = 1; txid <= 100; txid++) {
        await client.write(fileKey(0, txid), bytesSource(ltxLike(100)));
      }
      await mkdir(client.localPath(fileKey(0, 101)));
      await symlink(join(folder, 'nowhere'), client.localPath(fileKey(0, 102)));
      const found: bigint[] = [];
      for await (const { minTxid } of client.list(0)) {
        found.push(minTxid);
        if (minTxid === 1n) await client.delete([fileKey(0, 90)]);
      }
      assert.deepEqual(
        found,
        Array.from({ length: 100 }, (_, n) => BigInt(n + 1)).filter((n) => n !== 90n),
      );
    });

    it('throws an error in the middle of a listing from the iterator', async () => {
      await open().write(KEY, bytesSource(ltxLike(100)));
      await open().write(fileKey(0, 2), bytesSource(ltxLike(100)));
      await open().write(fileKey(0, 3), bytesSource(ltxLike(100)));
      const fileSystem = new FaultyFileSystem(nodeFileSystem);
      fileSystem.fail('EIO', { label: 'file:stat', nth: 3 });
      const found: bigint[] = [];
      const listing = async (): Promise<void> => {
        for await (const { minTxid } of open(fileSystem).list(0)) found.push(minTxid);
      };
      await assert.rejects(listing(), { code: 'ERR_STORAGE_TEMPORARY' });
      assert.deepEqual(found, [1n, 2n]);
    });

    it('sorts, whatever order the folder is read in', async () => {
      for (let txid = 1; txid <= 20; txid++) {
        await open().write(fileKey(0, txid), bytesSource(ltxLike(100)));
      }
      const list = async (label: string, path: string): Promise<string[]> =>
        (await nodeFileSystem.list(label, path)).toReversed();
      const found = await listAll(open({ ...nodeFileSystem, list }), 0);
      assert.deepEqual(
        found.map(({ minTxid }) => Number(minTxid)),
        Array.from({ length: 20 }, (_, index) => index + 1),
      );
    });

    it('asks for nothing but the files that seek leaves', async () => {
      for (let txid = 1; txid <= 20; txid++) {
        await open().write(fileKey(0, txid), bytesSource(ltxLike(100)));
      }
      const fileSystem = new FaultyFileSystem(nodeFileSystem);
      assert.equal((await listAll(open(fileSystem), 0, 18)).length, 3);
      assert.deepEqual(fileSystem.calls, ['file:list', 'file:stat', 'file:stat', 'file:stat']);
    });
  });

  describe('objects of other layouts', () => {
    const put = async (name: string, content = name): Promise<void> => {
      await mkdir(join(root, name, '..'), { recursive: true });
      await writeFile(join(root, name), content);
      await utimes(join(root, name), 1_700_000_000.25, 1_700_000_000.25);
    };
    const objects = async (client: FileReplicaClient, below: string): Promise<ObjectInfo[]> => {
      const found: ObjectInfo[] = [];
      for await (const object of client.listObjects(below)) found.push(object);
      return found.toSorted((a, b) => (a.key < b.key ? -1 : 1));
    };

    it('are listed with all folders below and read from any offset', async () => {
      const client = open();
      assert.deepEqual(await objects(client, 'generations'), []);
      await put('generations/a/wal/1', 'first');
      await put('generations/a/snapshots/2', 'second!');
      await put('generations/3', '');
      await put('ltx/0/x');
      const modifiedAt = 1_700_000_000_250;
      const found = await objects(client, 'generations');
      assert.deepEqual(found, [
        { key: 'generations/3', size: 0, modifiedAt },
        { key: 'generations/a/snapshots/2', size: 7, modifiedAt },
        { key: 'generations/a/wal/1', size: 5, modifiedAt },
      ]);
      const bytes = await collect(
        client.readObject(found[1] as ObjectInfo, { offset: 3, size: 3 }),
      );
      assert.equal(Buffer.from(bytes).toString(), 'ond');
    });

    it('never lead in circles', async () => {
      await put('generations/a/1');
      await symlink(join(root, 'generations'), join(root, 'generations', 'b'));
      assert.ok((await objects(open(), 'generations')).length < 10);
    });

    it('are missed by name', async () => {
      const object = { key: 'generations/a', size: 1, modifiedAt: 0 };
      const path = join(root, 'generations', 'a');
      await assert.rejects(collect(open().readObject(object)), {
        code: 'ERR_STORAGE_NOT_FOUND',
        message: `open object ${path}: open ${path}: no such file or directory`,
      });
      await mkdir(root);
      await writeFile(join(root, 'generations'), '');
      await assert.rejects(objects(open(), 'generations'), { code: 'ERR_STORAGE' });
    });
  });

  describe('faults', () => {
    const bytes = ltxLike(600_000, 1_735_689_600_123, 1);
    const old = ltxLike(5000, 1_735_689_500_000, 2);

    /** The file is as it was before or complete, and nothing temporary has stayed. */
    async function assertOldOrNew(before: Uint8Array | undefined, what: string): Promise<void> {
      const names = await filesBelow(root).catch(() => []);
      assert.ok(!names.some((name) => name.endsWith('.tmp')), `${what}: ${names.join(' ')}`);
      if (before === undefined && names.length === 0) return;
      assert.deepEqual(names, [NAME], what);
      const now = await readFile(target);
      const complete = now.equals(bytes) || (before !== undefined && now.equals(before));
      assert.ok(complete, `${what}: ${now.length} bytes`);
    }

    async function prepare(before: Uint8Array | undefined): Promise<void> {
      await rm(root, { recursive: true, force: true });
      if (before !== undefined) await open().write(KEY, bytesSource(before));
    }

    for (const [how, makeSource] of [
      ['streamed', () => Promise.resolve(chunkedSource(bytes, 70_000))],
      ['copied', () => localSource(bytes)],
    ] as const) {
      for (const before of [undefined, old]) {
        const state = before === undefined ? 'a new file' : 'replacing a file';
        it(`survives a failure of every operation: ${how}, ${state}`, async () => {
          const fileSystem = new FaultyFileSystem(nodeFileSystem);
          await prepare(before);
          await open(fileSystem).write(KEY, await makeSource());
          const calls = [...fileSystem.calls];
          assert.ok(calls.length > 8);
          for (const [index, label] of calls.entries()) {
            for (const after of [false, true]) {
              const what = `${label} (call ${index + 1}) fails ${after ? 'after' : 'before'} it is done`;
              await prepare(before);
              fileSystem.reset();
              const source = await makeSource();
              fileSystem.fail('EIO', { nth: index + 1, after });
              await assert.rejects(
                open(fileSystem).write(KEY, source),
                { code: 'ERR_STORAGE_TEMPORARY' },
                what,
              );
              await assertOldOrNew(before, what);
              await open(fileSystem).write(KEY, source);
              assert.ok((await readFile(target)).equals(bytes), `${what}: repeated`);
            }
          }
        });

        it(`survives a crash at every operation: ${how}, ${state}`, async () => {
          const fileSystem = new FaultyFileSystem(nodeFileSystem);
          await prepare(before);
          await open(fileSystem).write(KEY, await makeSource());
          const total = fileSystem.calls.length;
          assert.ok(total > 8);
          for (let nth = 1; nth <= total; nth++) {
            await prepare(before);
            fileSystem.reset();
            fileSystem.crash({ nth, after: nth % 2 === 0 });
            await assert.rejects(open(fileSystem).write(KEY, await makeSource()), SimulatedCrash);
            const listed = await listAll(open(), 0);
            assert.ok(listed.length <= 1);
            if (listed.length === 1) {
              const now = await readAll(open(), KEY);
              const whole = [bytes, ...(before === undefined ? [] : [before])];
              assert.ok(
                whole.some((each) => Buffer.from(each).equals(now)),
                `call ${nth} of ${total}`,
              );
            }
            fileSystem.reset();
            await open(fileSystem).write(KEY, await makeSource());
            assert.deepEqual(await filesBelow(root), [NAME], `repeated after call ${nth}`);
            assert.ok((await readFile(target)).equals(bytes));
          }
        });
      }
    }

    it('reports a file as failed whose folder could not be synced', async () => {
      const fileSystem = new FaultyFileSystem(nodeFileSystem);
      fileSystem.fail('EIO', { label: 'file:sync-directory' });
      await assert.rejects(open(fileSystem).write(KEY, bytesSource(bytes)), {
        code: 'ERR_STORAGE_TEMPORARY',
      });
    });

    it('tells of the first error if cleaning up fails as well', async () => {
      const fileSystem = new FaultyFileSystem(nodeFileSystem);
      fileSystem.fail('ENOSPC', { label: 'file:write' });
      fileSystem.fail('EIO', { label: 'file:clean-up' });
      await assert.rejects(open(fileSystem).write(KEY, chunkedSource(bytes)), {
        code: 'ERR_DISK_FULL',
      });
    });

    it('fails a read in the middle, and closes the file', async () => {
      await open().write(KEY, bytesSource(ltxLike(2_000_000)));
      const fileSystem = new FaultyFileSystem(nodeFileSystem);
      fileSystem.fail('EIO', { label: 'file:read', nth: 3 });
      let count = 0;
      const reading = async (): Promise<void> => {
        for await (const chunk of open(fileSystem).read(KEY)) count += chunk.length;
      };
      await assert.rejects(reading(), { code: 'ERR_STORAGE_TEMPORARY' });
      assert.equal(count, 2 * 512 * 1024);
      assert.equal(fileSystem.calls.at(-1), 'close');
    });
  });
});
