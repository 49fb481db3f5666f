/** What others do, and what fails, between the steps of a checkpoint. */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { systemClock } from '../../lib/clock.ts';
import type { LiveDatabase } from '../../sqlite/index.ts';
import { noopLogger } from '../../telemetry/index.ts';
import {
  follow,
  foreignCheckpoint,
  openScene,
  type Scene,
  wrongPages,
} from '../../../test/support/capture.ts';
import { Checkpointer } from './checkpointer.ts';
import { ContinuityLost } from './continuity-lost.ts';

const LIVE = new AbortController().signal;
const MODES = ['PASSIVE', 'FULL', 'RESTART', 'TRUNCATE'] as const;
const STEPS = [
  'beginSuccessor',
  'promoteSuccessor',
  'beginBarrier',
  'suspendReader',
  'checkpointTail',
  'checkpointBulk',
  'resumeReader',
  'endBarrier',
] as const satisfies readonly (keyof LiveDatabase)[];
type Step = (typeof STEPS)[number];

/** Between a call that works and what undoes it nothing can fail; and a lock that cannot be given back goes with its connection. */
const IMPOSSIBLE: readonly string[] = [
  'after beginBarrier',
  'after checkpointBulk',
  'before endBarrier',
];

interface Bench extends Scene {
  readonly checkpointer: Checkpointer;
}

async function openBench(t: TestContext, rows: number): Promise<Bench> {
  const scene = openScene(t);
  const { image, session } = scene;
  const checkpointer = new Checkpointer({
    clock: systemClock,
    logger: noopLogger,
    flush: () => follow(scene),
    gatherPending: () => true,
  });
  image.apply(await session.freezeFull({ reason: '', level: 'info' }));
  scene.app.insert(rows, 1_000);
  await session.captureNow({ limitBytes: 0, gather: false, yields: true });
  return { ...scene, checkpointer };
}

/** Does something before or after the first call of one step. Returns whether the step came up. */
function at(live: LiveDatabase, step: Step, after: boolean, action: () => void): () => boolean {
  const original = live[step].bind(live) as () => never;
  let done = false;
  const once = (): void => {
    if (done) return;
    done = true;
    action();
  };
  live[step] = (): never => {
    if (!after) once();
    const result = original();
    if (after) once();
    return result;
  };
  return () => done;
}

/** Commits, checkpoints in all modes and commits again, as far as locks let it. */
function disturb({ foreign }: Scene): void {
  const attempt = (body: () => unknown): void => {
    try {
      body();
    } catch (error) {
      assert.match(String(error), /locked|busy/);
    }
  };
  const commit = (): void => foreign.exec("INSERT INTO t (v, b) VALUES ('d', randomblob(5000))");
  attempt(commit);
  for (const mode of MODES) attempt(() => foreignCheckpoint(foreign, mode));
  attempt(commit);
  attempt(commit);
}

for (const step of STEPS) {
  // So many that the thread is asked to move them, or so few that one round is enough.
  const rows = step === 'checkpointBulk' ? 3_000 : 1_300;
  for (const after of [false, true]) {
    const moment = after ? 'after' : 'before';
    test(`CHK-03 commits and checkpoints of others ${moment} ${step} are not missed`, async (t) => {
      const bench = await openBench(t, rows);
      const cameUp = at(bench.live, step, after, () => disturb(bench));
      for (let round = 0; round < 3; round++) {
        await bench.checkpointer.run(bench.session, LIVE);
        disturb(bench);
      }
      assert.ok(cameUp());
      await follow(bench);
      assert.deepEqual(wrongPages(bench), []);
    });

    if (IMPOSSIBLE.includes(`${moment} ${step}`)) continue;
    test(`CHK-03 a failure ${moment} ${step} loses nothing unseen`, async (t) => {
      const bench = await openBench(t, rows);
      const cameUp = at(bench.live, step, after, () => {
        throw new Error('failed on purpose');
      });
      let failure: unknown;
      try {
        await bench.checkpointer.run(bench.session, LIVE);
      } catch (error) {
        failure = error;
      }
      assert.ok(cameUp());
      // Then the whole database is written.
      if (failure instanceof ContinuityLost) return;
      for (let round = 0; round < 3; round++) {
        disturb(bench);
        await follow(bench);
      }
      assert.deepEqual(wrongPages(bench), []);
      assert.equal(bench.foreign.isTransaction, false);
      bench.foreign.exec("INSERT INTO t (v) VALUES ('the lock is free')");
    });
  }
}
