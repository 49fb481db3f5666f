import assert from 'node:assert/strict';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { platform, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { systemClock } from '../../../lib/clock.ts';
import type { FileTime } from '../../../lib/exact-times.ts';
import { nodeFileSystem, type FileSystem } from '../../../lib/file-system.ts';
import { FakeClock, fileKey, ltxLike } from '../../../testing/index.ts';
import { bytesSource } from '../../sources.ts';
import { exactTimes, ExactTimes } from './exact-times.ts';
import { FileReplicaClient } from './index.ts';

const T = 1_735_689_600_001;

/** A file system whose batches are recorded, and end when the test says so. */
class Recorder {
  readonly batches: (readonly FileTime[])[] = [];
  readonly fileSystem: FileSystem;
  held: (() => void)[] | undefined;

  constructor() {
    this.fileSystem = {
      ...nodeFileSystem,
      setExactTimes: (_label, entries) => {
        this.batches.push(entries);
        return new Promise((resolve) => {
          if (this.held === undefined) resolve();
          else this.held.push(resolve);
        });
      },
    };
  }
}

describe('exact file times', () => {
  let clock: FakeClock;
  let recorder: Recorder;
  let times: ExactTimes;

  beforeEach(() => {
    clock = new FakeClock();
    recorder = new Recorder();
    times = new ExactTimes(recorder.fileSystem, clock);
  });

  it('go to one helper for all writes of a short while', async () => {
    for (let n = 0; n < 50; n++) times.announce(`/r/${n}`, T);
    await clock.advance(49);
    assert.equal(recorder.batches.length, 0);
    await clock.advance(1);
    assert.deepEqual(
      recorder.batches.map((batch) => batch.length),
      [50],
    );
    assert.equal(clock.pending, 0);
  });

  it('cost a helper each second at first, each ten seconds under load', async () => {
    const write = async (seconds: number): Promise<number> => {
      const before = recorder.batches.length;
      for (let n = 0; n < seconds * 2; n++) {
        times.announce(`/r/${n}`, T);
        await clock.advance(500);
      }
      return recorder.batches.length - before;
    };
    assert.ok((await write(3)) >= 2);
    await write(60);
    assert.equal(await write(100), 10);
    await clock.advance(60_000);
    assert.ok((await write(3)) >= 2);
  });

  it('take little of a core after a thousand first syncs, and are all there in the end', async () => {
    for (let n = 0; n < 1000; n++) times.announce(`/r/${n}`, T);
    await clock.advance(60_000);
    assert.ok(recorder.batches.flat().length <= 600);
    assert.ok(recorder.batches.every((batch) => batch.length <= 50));
    await times.drain();
    assert.equal(recorder.batches.flat().length, 1000);
  });

  it('need no helper where Node hits the millisecond', async () => {
    times.announce('/r/1', 1_735_689_600_125);
    await clock.advance(2000);
    assert.equal(recorder.batches.length, 0);
  });

  it('are the newest of a file that is replaced before or while the helper runs', async () => {
    times.announce('/r/1', T);
    times.announce('/r/1', T + 1);
    recorder.held = [];
    await clock.advance(50);
    times.announce('/r/1', 1_735_689_600_125);
    recorder.held.forEach((end) => end());
    recorder.held = undefined;
    await clock.advance(2000);
    assert.deepEqual(recorder.batches, [
      [{ path: '/r/1', ms: T + 1 }],
      [{ path: '/r/1', ms: 1_735_689_600_125 }],
    ]);
  });

  it('keep one helper at work, and a bounded queue', async () => {
    recorder.held = [];
    for (let n = 0; n < 30_000; n++) times.announce(`/r/${n}`, T);
    await clock.advance(60_000);
    assert.equal(recorder.batches.length, 1);
    for (let round = 0; round < 100; round++) {
      recorder.held.splice(0).forEach((end) => end());
      await clock.advance(10_000);
    }
    assert.equal(recorder.batches.flat().length, 4000);
  });

  it('are drained at once, without what comes later', async () => {
    times.announce('/r/1', T);
    await times.drain();
    assert.equal(recorder.batches.length, 1);
    recorder.held = [];
    times.announce('/r/2', T);
    const drained = times.drain();
    times.announce('/r/3', T);
    recorder.held.splice(0).forEach((end) => end());
    await drained;
    await times.drain.call(new ExactTimes(recorder.fileSystem, clock));
  });

  it('do not hold up a close for longer than five seconds', async () => {
    recorder.held = [];
    times.announce('/r/1', T);
    const drained = times.drain();
    await clock.advance(5000);
    await drained;
  });

  it('may fail', async () => {
    const fileSystem = { ...nodeFileSystem, setExactTimes: () => Promise.reject(new Error('no')) };
    const failing = new ExactTimes(fileSystem, clock);
    failing.announce('/r/1', T);
    await failing.drain();
    failing.announce('/r/1', T);
    await failing.drain();
  });

  it('share one queue between all clients of a file system and clock', () => {
    assert.equal(exactTimes(nodeFileSystem, clock), exactTimes(nodeFileSystem, clock));
    assert.notEqual(exactTimes(nodeFileSystem, clock), exactTimes(nodeFileSystem, systemClock));
  });
});

describe('exact file times of a replica', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'litestream exact é\n-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  it('are in place when the client is closed, deleted files are not put back', async (t) => {
    const client = new FileReplicaClient({
      path: folder,
      fileSystem: nodeFileSystem,
      clock: systemClock,
    });
    for (let n = 1; n <= 40; n++) {
      await client.write(fileKey(0, n), bytesSource(ltxLike(100, T + n * 17)));
    }
    await client.delete([fileKey(0, 7)]);
    await client.close();
    if (platform() !== 'linux') t.diagnostic('exact on Linux only');
    for (let n = 1; n <= 40; n++) {
      const path = client.localPath(fileKey(0, n));
      if (n === 7) {
        await assert.rejects(stat(path), { code: 'ENOENT' });
        continue;
      }
      const above = (await stat(path, { bigint: true })).mtimeNs - BigInt(T + n * 17) * 1_000_000n;
      if (platform() === 'linux') assert.equal(above, 0n, path);
      else assert.ok(above >= 0n && above < 500n, path);
    }
  });
});
