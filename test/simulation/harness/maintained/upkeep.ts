import { previousBoundary } from '../../../../src/compaction/index.ts';
import { runMonitors } from '../../../../src/engine/store/monitors.ts';
import { Slots } from '../../../../src/engine/store/slots.ts';
import { LitestreamError } from '../../../../src/lib/errors.ts';
import { sleep } from '../../../../src/lib/clock.ts';
import { noopLogger } from '../../../../src/telemetry/index.ts';
import { check } from '../violation.ts';
import { restoreLatest } from './checks.ts';
import type { Harm, Remote } from './remote.ts';
import { HOUR, MINUTE, type World } from './world.ts';
import type { Writer } from './writer.ts';

const LEVELS = [1, 2, 3] as const;
const SNAPSHOT_LEVEL = 9;
/** Complete rounds after which what was lost must not be needed any more. */
const HEALING_ROUNDS = 3;

/** Notes that retention may delete what has expired by now. */
function retentionRuns(world: World): void {
  for (const remote of world.remotes) {
    remote.cutoffFrom = Math.max(remote.cutoffFrom, world.clock.now() + MINUTE);
  }
}

/** One pass over one level, as its monitor does it. */
export async function compact(
  world: World,
  writer: Writer,
  index: number,
  level: number,
): Promise<void> {
  if (!writer.running) return;
  world.tally.add('compaction');
  await world.work(writer, (signal) => writer.maintenance(index).compact(level, signal));
}

export async function scheduledSnapshot(
  world: World,
  writer: Writer,
  index: number,
): Promise<void> {
  if (!writer.running) return;
  const { clock, store } = world;
  retentionRuns(world);
  world.tally.add('snapshot');
  await world.work(writer, async (signal) => {
    await writer.maintenance(index).scheduledSnapshot((newest) => {
      const now = clock.now();
      const boundary = previousBoundary(now, store.snapshotIntervalMs);
      return newest.createdAt > boundary && newest.createdAt <= now;
    }, signal);
    world.tally.add('retention');
    await writer.maintenance(index).scheduledRetention(signal);
  });
}

export async function level0Retention(world: World, writer: Writer, index: number): Promise<void> {
  if (!writer.running) return;
  retentionRuns(world);
  world.tally.add('retention of level 0');
  await world.work(writer, (signal) => writer.maintenance(index).enforceLevel0(signal));
}

/** The monitors themselves, for a while. */
export async function runAllMonitors(world: World, writer: Writer, ms: number): Promise<void> {
  const { clock, store } = world;
  world.tally.add('monitors');
  const stop = new AbortController();
  await world.work(writer, async () => {
    const monitors = runMonitors({
      options: store,
      clock,
      logger: noopLogger,
      replicas: () => writer.upkeep,
      slots: new Slots(4),
      signal: stop.signal,
    });
    await sleep(clock, ms);
    stop.abort(new LitestreamError('ERR_ABORTED', 'context canceled'));
    await monitors;
  });
  retentionRuns(world);
}

/** Everything that is due after some time, in the monitors' order. */
export async function round(world: World, writer: Writer, ms: number): Promise<boolean> {
  writer.application.transact();
  world.tally.add('time passes');
  world.clock.pass(ms);
  let complete = writer.running && (await world.sync(writer));
  for (const index of world.remotes.keys()) {
    if (writer.running) complete = (await world.upload(writer, index)) && complete;
    await scheduledSnapshot(world, writer, index);
    for (const level of LEVELS) await compact(world, writer, index, level);
    await level0Retention(world, writer, index);
    if (writer.running) complete &&= writer.maintenance(index).isReady;
  }
  return complete && writer.running;
}

/** No destination has anything against being used. */
export function reachAll(world: World, writer: Writer): void {
  for (const client of writer.clients) client.reset();
  for (const remote of world.remotes) remote.down = false;
  writer.fileSystem.reset();
  writer.faults = false;
}

/** A complete round after which every level was due; counts towards healing. */
export async function completeRound(world: World, writer: Writer): Promise<void> {
  reachAll(world, writer);
  if (!writer.application.open) writer.application.connect();
  if (!writer.running) writer.start();
  const since = world.store.snapshotIntervalMs + HOUR;
  if (!(await round(world, writer, since))) return;
  world.seen.add('complete round');
  for (const remote of world.remotes) {
    const { harm } = remote;
    if (harm === undefined) continue;
    harm.rounds++;
    if (harm.rounds >= HEALING_ROUNDS) await checkHealed(world, writer, remote, harm);
  }
}

/** What was lost is not needed any more, or was said to be missing. */
async function checkHealed(
  world: World,
  writer: Writer,
  remote: Remote,
  harm: Harm,
): Promise<void> {
  // An object that is not acknowledged any more counts as not stored: the position is where the daemon says.
  const good = await restoreLatest(world, remote);
  const said = writer.journal.errors > harm.errors;
  check(good || said, `E12: after ${harm.what} ${remote.name} is healed or an error was logged`);
  world.seen.add(good ? 'healed' : 'loss said');
  if (good) remote.harm = undefined;
}

/** Levels hold what retention allows, and no more. */
export function checkBounds(world: World): void {
  const { l0RetentionMs, levels, snapshotRetentionMs } = world.store;
  const now = world.clock.now();
  for (const remote of world.remotes) {
    const files = remote.files();
    const snapshots = files.filter(({ level }) => level === SNAPSHOT_LEVEL);
    const old = snapshots.filter(({ createdAt }) => createdAt < now - snapshotRetentionMs);
    check(
      old.length <= 1,
      `E14: one expired snapshot at most stays in ${remote.name}: ${old.length}`,
    );
    for (const { level } of levels) {
      const below = files.filter((file) => file.level === level && file.maxTxid < remote.expired);
      check(
        below.length <= 1,
        `E14: level ${level} of ${remote.name} has ${below.length} expired files`,
      );
    }
    const level0 = files.filter((file) => file.level === 0 && file.createdAt < now - l0RetentionMs);
    check(level0.length <= 2, `E14: level 0 of ${remote.name} has ${level0.length} expired files`);
  }
}
