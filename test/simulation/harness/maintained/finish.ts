import { check } from '../violation.ts';
import { restoreLatest, restoreTxid, verify } from './checks.ts';
import { rivalEnds } from './harm.ts';
import { checkBounds, completeRound, reachAll } from './upkeep.ts';
import { DAY, type World } from './world.ts';

/** Faults end: everything is replicated and restorable after a few rounds, and what has expired is gone. */
export async function finish(world: World): Promise<void> {
  const { clock, random, writer } = world;
  await rivalEnds(world);
  reachAll(world, writer);
  writer.application.endLarge();
  for (let round = 0; round < 4; round++) await completeRound(world, writer);
  clock.pass(world.store.snapshotRetentionMs + DAY);
  for (let round = 0; round < 2; round++) await completeRound(world, writer);
  const wanted = writer.history.key(writer.history.last);
  for (const remote of world.remotes) {
    check(remote.harm === undefined, `E12: ${remote.name} is healed`);
    check(remote.states.get(remote.acknowledged) === wanted, 'E11: everything is replicated');
    await restoreLatest(world, remote);
    for (let n = 0; n < 3; n++) {
      await restoreTxid(world, remote, 1n + BigInt(random.below(Number(remote.acknowledged))));
    }
    await verify(world, remote);
  }
  if (world.followed) await world.follower.catchUp();
  if (!world.jumps) checkBounds(world);
  check(writer.application.integrity() === 'ok', "the application's database is intact");
  await world.stop(writer, false);
  for (const each of [writer, world.rival]) {
    each?.application.disconnect();
    each?.end();
  }
  check(clock.pending === 0, 'E9: no timer stays');
}
