import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { sleep } from '../lib/clock.ts';
import { nodeFileSystem } from '../lib/file-system.ts';
import { bytesSource, readAll } from '../storage/index.ts';
import {
  FakeClock,
  FaultyClient,
  FaultyFileSystem,
  fileKey,
  listAll,
  ltxLike,
  MemoryClient,
  randomNumbers,
  replicaClientSuite,
  SimulatedCrash,
} from './index.ts';

const KEY = fileKey(0, 1);

replicaClientSuite('faulty client without faults', () => {
  const store = new MemoryClient().store;
  return Promise.resolve({
    open: (path) => Promise.resolve(new FaultyClient(new MemoryClient({ store, path }))),
    dispose: () => Promise.resolve(),
  });
});

describe('fake clock', () => {
  it('fires timers in the order of their due times, also those set on the way', async () => {
    const clock = new FakeClock(1000);
    const fired: string[] = [];
    const note = (name: string) => () => {
      fired.push(`${name} at ${clock.monotonic()}/${clock.now()}`);
    };
    clock.timer(30, note('c'));
    clock.timer(10, note('a'));
    clock.timer(10, note('b'));
    clock.timer(10, () => {
      clock.timer(5, note('nested'));
    });
    clock.timer(20, note('cancelled')).cancel();
    clock.timer(-5, note('at once'));
    await clock.advance(29);
    assert.deepEqual(fired, [
      'at once at 0/1000',
      'a at 10/1010',
      'b at 10/1010',
      'nested at 15/1015',
    ]);
    assert.equal(clock.nextTimerIn, 1);
    await clock.advance(1);
    assert.equal(fired.at(-1), 'c at 30/1030');
    assert.equal(clock.pending, 0);
    assert.equal(clock.nextTimerIn, undefined);
  });

  it('lets what waited go on before the next timer fires', async () => {
    const clock = new FakeClock();
    const seen: number[] = [];
    const loop = async (): Promise<void> => {
      for (let round = 0; round < 5; round++) {
        await sleep(clock, 100);
        seen.push(clock.monotonic());
      }
    };
    const done = loop();
    await clock.advance(350);
    assert.deepEqual(seen, [100, 200, 300]);
    await clock.advance(150);
    await done;
  });

  it('runs until a promise settles', async () => {
    const clock = new FakeClock();
    assert.equal(await clock.runUntil(sleep(clock, 3_600_000).then(() => 'done')), 'done');
    assert.equal(clock.monotonic(), 3_600_000);
    await assert.rejects(clock.runUntil(Promise.reject(new Error('no'))), /no/);
  });

  it('lets the wall clock jump without the monotonic one', () => {
    const clock = new FakeClock(5000);
    clock.jump(-2000);
    assert.deepEqual([clock.now(), clock.monotonic()], [3000, 0]);
  });
});

describe('random numbers', () => {
  it('repeat for a seed, lie in [0, 1) and are spread evenly', () => {
    const take = (seed: number): number[] => {
      const next = randomNumbers(seed);
      return Array.from({ length: 10_000 }, () => next());
    };
    assert.deepEqual(take(7), take(7));
    assert.notDeepEqual(take(7), take(8));
    const numbers = take(1);
    assert.ok(numbers.every((number) => number >= 0 && number < 1));
    const mean = numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
    assert.ok(Math.abs(mean - 0.5) < 0.02, `mean ${mean}`);
  });
});

describe('faulty client', () => {
  const setUp = (): { memory: MemoryClient; faulty: FaultyClient } => {
    const memory = new MemoryClient();
    return { memory, faulty: new FaultyClient(memory) };
  };
  const source = bytesSource(ltxLike(1000));

  it('fails before or after the write happened', async () => {
    const { memory, faulty } = setUp();
    faulty.inject({ operation: 'write', kind: 'before' });
    await assert.rejects(faulty.write(KEY, source), { code: 'ERR_STORAGE_TEMPORARY' });
    assert.equal(memory.store.size, 0);
    faulty.inject({ operation: 'write', kind: 'partial', amount: 10 });
    await assert.rejects(faulty.write(KEY, source), { message: 'injected fault: write partial' });
    assert.equal(memory.store.size, 0);
    faulty.inject({ operation: 'write', kind: 'after' });
    await assert.rejects(faulty.write(KEY, source), { retryable: true });
    assert.equal(memory.store.size, 1);
    await faulty.write(KEY, source);
    assert.equal(faulty.count('write'), 4);
    assert.equal(faulty.count(), 4);
  });

  it('strikes at the n-th call, so many times', async () => {
    const { faulty } = setUp();
    faulty.inject({ operation: 'init', kind: 'before', nth: 2, times: 2 });
    const results: boolean[] = [];
    for (let call = 0; call < 5; call++) {
      results.push(
        await faulty.init().then(
          () => true,
          () => false,
        ),
      );
    }
    assert.deepEqual(results, [true, false, false, true, true]);
  });

  it('breaks listings and reads in the middle and at the end', async () => {
    const { faulty } = setUp();
    for (const txid of [1, 2, 3]) await faulty.write(fileKey(0, txid), source);
    for (const [kind, amount, expected] of [
      ['partial', 2, 2],
      ['after', 0, 3],
      ['before', 0, 0],
    ] as const) {
      faulty.inject({ operation: 'list', kind, amount });
      let seen = 0;
      const listing = async (): Promise<void> => {
        for await (const file of faulty.list(0)) seen += file.level + 1;
      };
      await assert.rejects(listing(), /injected fault: list/);
      assert.equal(seen, expected, kind);
    }
    faulty.inject({ operation: 'read', kind: 'partial', amount: 300 });
    let bytes = 0;
    const reading = async (): Promise<void> => {
      for await (const chunk of faulty.read(KEY)) bytes += chunk.length;
    };
    await assert.rejects(reading(), /injected fault: read partial/);
    assert.equal(bytes, 300);
    faulty.inject({ operation: 'read', kind: 'truncate', amount: 200 });
    assert.equal((await readAll(faulty, KEY)).length, 200);
  });

  it('deletes a part of the files', async () => {
    const { memory, faulty } = setUp();
    const keys = [1, 2, 3].map((txid) => fileKey(0, txid));
    for (const key of keys) await faulty.write(key, source);
    faulty.inject({ operation: 'delete', kind: 'partial', amount: 2 });
    await assert.rejects(faulty.delete(keys), /injected fault/);
    assert.equal(memory.store.size, 1);
  });

  it('hangs until the signal fires', async () => {
    const { faulty } = setUp();
    const controller = new AbortController();
    faulty.inject({ operation: 'write', kind: 'hang' });
    const write = faulty.write(KEY, source, { signal: controller.signal });
    controller.abort();
    await assert.rejects(write, { code: 'ERR_ABORTED' });
  });

  it('hides new files from some listings', async () => {
    const { faulty } = setUp();
    faulty.hideNewFilesForLists = 2;
    await faulty.write(KEY, source);
    const counts: number[] = [];
    for (let round = 0; round < 3; round++) counts.push((await listAll(faulty, 0)).length);
    assert.deepEqual(counts, [0, 0, 1]);
    assert.equal((await readAll(faulty, KEY)).length, 1000, 'can be read all the time');
  });

  it('stays down until it is switched on', async () => {
    const { faulty } = setUp();
    faulty.setDown(true);
    for (let round = 0; round < 3; round++) {
      await assert.rejects(listAll(faulty, 0), /connection refused/);
      await assert.rejects(faulty.write(KEY, source), /connection refused/);
    }
    faulty.setDown(false);
    await faulty.write(KEY, source);
  });

  it('fails by chance, the same way for the same seed', async () => {
    const outcomes = async (seed: number): Promise<string> => {
      const faulty = new FaultyClient(new MemoryClient(), { rate: 0.3, seed });
      let text = '';
      for (let call = 0; call < 200; call++) {
        text += await faulty.write(fileKey(0, call + 1), source).then(
          () => '.',
          () => 'x',
        );
      }
      return text;
    };
    const first = await outcomes(3);
    assert.equal(first, await outcomes(3));
    assert.notEqual(first, await outcomes(4));
    const failures = first.replaceAll('.', '').length;
    assert.ok(failures > 30 && failures < 90, `${failures} of 200`);
  });
});

describe('faulty file system', () => {
  it('records labels, fails one call and goes on', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'litestream-faulty-'));
    try {
      const fs = new FaultyFileSystem(nodeFileSystem);
      const path = join(folder, 'x');
      await writeFile(path, 'content');
      fs.fail('ENOSPC', { label: 'b', nth: 2 });
      await fs.stat('a', path);
      await fs.stat('b', path);
      await assert.rejects(fs.stat('b', path), { code: 'ERR_DISK_FULL' });
      await fs.stat('b', path);
      assert.deepEqual(fs.calls, ['a', 'b', 'b', 'b']);
      fs.fail('EIO', { label: 'gone', after: true });
      await assert.rejects(fs.remove('gone', path), { code: 'ERR_IO' });
      assert.equal(await nodeFileSystem.stat('', path), undefined, 'done all the same');
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('is dead after a crash until it is reset', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'litestream-faulty-'));
    try {
      const fs = new FaultyFileSystem(nodeFileSystem);
      const file = await fs.open('open', join(folder, 'x'), 'create');
      fs.crash({ label: 'sync' });
      await file.write('write', new Uint8Array(10), 0);
      await assert.rejects(file.sync('sync'), SimulatedCrash);
      assert.ok(fs.crashed);
      await assert.rejects(file.write('write', new Uint8Array(10), 10), SimulatedCrash);
      await assert.rejects(file.close(), SimulatedCrash);
      await assert.rejects(fs.list('list', folder), SimulatedCrash);
      fs.reset();
      assert.deepEqual(await fs.list('list', folder), ['x']);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

describe('suites that cannot run', () => {
  const script = `
    import { replicaClientSuite } from ${JSON.stringify(new URL('index.ts', import.meta.url).href)};
    replicaClientSuite('cloud', () => { throw new Error('never called'); }, { unavailable: 'no server' });
  `;
  const run = async (required: string): Promise<{ status: number | null; stdout: string }> => {
    const folder = await mkdtemp(join(tmpdir(), 'litestream-required-'));
    try {
      const file = join(folder, 'cloud.test.mjs');
      await writeFile(file, script);
      const env: NodeJS.ProcessEnv = { ...process.env, LITESTREAM_TEST_REQUIRED: required };
      // Set by the runner of this very test; the inner one would report to it.
      delete env['NODE_TEST_CONTEXT'];
      const args = ['--test', '--test-reporter=tap', file];
      return spawnSync(process.execPath, args, { env, encoding: 'utf8' });
    } finally {
      await rm(folder, { recursive: true });
    }
  };

  it('are reported as skipped', async () => {
    for (const required of ['', 'file,memory']) {
      const { status, stdout } = await run(required);
      assert.equal(status, 0, stdout);
      assert.match(stdout, /# skipped 1/);
      assert.match(stdout, /SKIP no server/);
    }
  });

  it('fail if they are required', async () => {
    for (const required of ['cloud', 'file, cloud', 'all']) {
      const { status, stdout } = await run(required);
      assert.equal(status, 1, stdout);
      assert.match(stdout, /suite \\?"cloud\\?" is required and cannot run: no server/);
    }
  });
});
