import { CHECKPOINT_MODES } from '../application.ts';
import { restoreLatest, restoreTime, restoreTxid } from './checks.ts';
import { greatest } from './model.ts';
import type { Remote } from './remote.ts';
import {
  damageObject,
  loseEverything,
  loseMetadata,
  loseObject,
  rivalEnds,
  rivalStarts,
  rivalWorks,
  wipe,
} from './harm.ts';
import {
  compact,
  completeRound,
  level0Retention,
  round,
  runAllMonitors,
  scheduledSnapshot,
} from './upkeep.ts';
import { DAY, HOUR, MINUTE, type World } from './world.ts';

/** One thing that may happen. */
interface Operation {
  readonly weight: number;
  readonly when: (world: World) => boolean;
  readonly run: (world: World) => Promise<unknown> | void;
  /** It is one operation by itself; others consist of what counts where it is done. */
  readonly counts?: boolean;
}

/** File operations of the engine at which it dies or fails. */
const LABELS = [
  'l0:open',
  'l0:write',
  'l0:fsync',
  'l0:rename',
  'l0:fsync-dir',
  'l0:list',
  'l0:read',
  'l0:stat',
  'l0:remove',
  'l0:merge',
  'any',
  'any',
] as const;
const PASSES_MS = [
  5,
  100,
  2000,
  31_000,
  31_000,
  6 * MINUTE,
  6 * MINUTE,
  HOUR,
  7 * HOUR,
  25 * HOUR,
] as const;

const always = (): boolean => true;
const up = ({ writer }: World): boolean => writer.running;
/** Numbers that were given out are in the destinations. */
const recoverable = ({ remotes, writer }: World): boolean =>
  !writer.running && remotes.every(({ harm }) => harm === undefined);
const down = ({ writer }: World): boolean => !writer.running;
const nobody = ({ rival, writer }: World): boolean => !writer.running && rival?.running !== true;

function operation(weight: number, when: Operation['when'], run: Operation['run']): Operation {
  return { weight, when, run };
}

function event(weight: number, when: Operation['when'], run: Operation['run']): Operation {
  return { weight, when, run, counts: true };
}

function anyIndex({ random, remotes }: World): number {
  return random.below(remotes.length);
}

function anyRemote(world: World): Remote {
  return world.random.pick(world.remotes);
}

const APPLICATION: Readonly<Record<string, Operation>> = {
  transact: operation(30, always, ({ writer }) => writer.application.transact()),
  'begin large': operation(0.7, always, ({ writer }) => writer.application.beginLarge()),
  'continue large': operation(0.7, always, ({ writer }) => writer.application.continueLarge()),
  'end large': operation(3, always, ({ writer }) => writer.application.endLarge()),
  vacuum: operation(0.5, always, ({ writer }) => writer.application.vacuum()),
  checkpoint: operation(2, always, ({ random, writer }) =>
    writer.application.checkpoint(random.pick(CHECKPOINT_MODES)),
  ),
};

const ENGINE: Readonly<Record<string, Operation>> = {
  sync: operation(12, up, (w) => w.sync(w.writer)),
  'sync and upload': operation(16, up, async (w) => {
    if (!(await w.sync(w.writer))) return;
    for (const index of w.remotes.keys()) if (w.writer.running) await w.upload(w.writer, index);
  }),
  upload: operation(6, up, (w) => w.upload(w.writer, anyIndex(w))),
  compact: operation(9, up, (w) => compact(w, w.writer, anyIndex(w), w.random.between(1, 3))),
  'scheduled snapshot': operation(3, up, (w) => scheduledSnapshot(w, w.writer, anyIndex(w))),
  'forced snapshot': event(1, up, (w) =>
    w.work(w.writer, (signal) => w.writer.maintenance(anyIndex(w)).snapshot(signal)),
  ),
  'level-0 retention': operation(4, up, (w) => level0Retention(w, w.writer, anyIndex(w))),
  'round of upkeep': operation(2, up, (w) => round(w, w.writer, w.random.pick([MINUTE, HOUR]))),
  'complete round': operation(1, always, (w) => completeRound(w, w.writer)),
  monitors: operation(0.3, up, (w) =>
    runAllMonitors(w, w.writer, w.random.pick([MINUTE, 6 * MINUTE])),
  ),
  'stop cleanly': operation(0.7, up, (w) => w.stop(w.writer, false)),
  kill: operation(0.5, up, (w) => w.stop(w.writer, true)),
  start: operation(12, down, async (w) => {
    w.writer.start();
    await w.sync(w.writer);
  }),
};

const CHECKS: Readonly<Record<string, Operation>> = {
  'restore latest': operation(1.5, always, (w) => restoreLatest(w, anyRemote(w))),
  'restore any': operation(2, always, (w) => {
    const remote = anyRemote(w);
    const newest = Number(greatest(remote.states.keys()));
    return restoreTxid(w, remote, BigInt(w.random.between(1, newest + 1)));
  }),
  'restore time': operation(2, always, (w) => {
    const remote = anyRemote(w);
    const times = remote.files().map(({ createdAt }) => createdAt);
    if (times.length === 0) return undefined;
    const back = w.random.pick([0, 1, MINUTE, HOUR, DAY]) * w.random.next();
    const at = w.random.chance(0.5)
      ? w.random.pick(times) + w.random.below(2)
      : w.clock.now() - back;
    return restoreTime(w, remote, Math.floor(at));
  }),
};

const FAULTS: Readonly<Record<string, Operation>> = {
  'time passes': event(9, always, (w) => w.clock.pass(w.random.pick(PASSES_MS))),
  'disk fails': event(1, up, (w) => {
    w.writer.faults = true;
    const picked = w.random.pick(LABELS);
    const label = picked === 'any' ? undefined : picked;
    const errno = w.random.pick(['EIO', 'ENOSPC']);
    w.writer.fileSystem.fail(errno, { label, nth: w.random.between(1, 3) });
  }),
  'request fails': event(3, always, (w) => {
    const client = w.random.chance(0.85) ? w.random.pick(w.writer.clients) : w.follower.client;
    client.inject({
      operation: w.random.pick(['list', 'list', 'read', 'write', 'write', 'delete']),
      kind: w.random.pick(['before', 'after', 'partial', 'partial', 'hang']),
      nth: w.random.between(1, 5),
      amount: w.random.below(w.random.pick([4, 2000])),
    });
  }),
  'destination down or up': event(0.8, always, (w) => {
    const index = anyIndex(w);
    const remote = w.remote(index);
    remote.down = !remote.down;
    w.writer.clients[index]?.setDown(remote.down);
    w.rival?.clients[index]?.setDown(remote.down);
  }),
  'queue shortened': event(1.5, up, async (w) => {
    await w.work(w.writer, (signal) => w.writer.shortenQueue(signal));
  }),
  follow: operation(2, always, (w) => w.follower.follow(w.random.between(1, 8))),
  'object lost': event(0.3, always, (w) => loseObject(w, anyRemote(w))),
  'object damaged': event(0.3, always, (w) => damageObject(w, anyRemote(w))),
  'destination emptied': event(0.08, always, (w) => wipe(w, anyRemote(w))),
  'metadata removed': event(0.5, recoverable, (w) => loseMetadata(w)),
  'everything lost': event(0.2, nobody, (w) => loseEverything(w)),
  'clock is set': event(
    0.5,
    ({ jumps }) => jumps,
    (w) => w.clock.jump((w.random.next() - 0.5) * 2 * DAY),
  ),
  'follower dies': event(0.3, always, (w) => {
    const point = { nth: w.random.between(1, 30), after: w.random.chance(0.5) };
    w.follower.fileSystem.crash(point);
    return w.follower.follow(4);
  }),
  'copy deleted': event(0.1, always, (w) => w.follower.forget()),
  'die at a call': event(0.8, up, (w) => {
    const picked = w.random.pick(LABELS);
    const label = picked === 'any' ? undefined : picked;
    w.writer.fileSystem.crash({ label, nth: w.random.between(1, 5), after: w.random.chance(0.5) });
  }),
};

/** Only in some runs, or there would hardly be others. */
const rivalry = ({ contested, rival }: World): boolean => contested && rival?.running !== true;
const rivalUp = ({ rival }: World): boolean => rival?.running === true;

const RIVAL: Readonly<Record<string, Operation>> = {
  'rival starts': operation(0.7, rivalry, (w) => rivalStarts(w)),
  'rival works': operation(9, rivalUp, (w) => rivalWorks(w)),
  'rival does its upkeep': operation(2, rivalUp, async (w) => {
    if (w.rival !== undefined) await round(w, w.rival, MINUTE);
  }),
  'rival ends': operation(0.7, rivalUp, (w) => rivalEnds(w)),
};

/** Only in some runs, as before. */
const follows = ({ followed }: World): boolean => followed;

const FOLLOWER: Readonly<Record<string, Operation>> = {
  'follow on': operation(14, follows, (w) => w.follower.follow(w.random.between(1, 4))),
  'copy opened': operation(3, follows, ({ follower }) => follower.openReader()),
  'copy held': operation(1, follows, ({ follower }) => follower.holdReader()),
  'copy released': operation(4, follows, ({ follower }) => follower.releaseReaders()),
  'disk of the copy fails': event(1.5, follows, ({ follower, random }) =>
    follower.breakDisk(random.pick(['EIO', 'ENOSPC']), random.between(1, 40)),
  ),
  'follower dies again': event(1.5, follows, (w) => {
    const point = { nth: w.random.between(1, 60), after: w.random.chance(0.5) };
    w.follower.fileSystem.crash(point);
    return w.follower.follow(4);
  }),
  'follower cut off': event(1.5, follows, ({ follower, random }) =>
    follower.client.inject({
      operation: random.pick(['list', 'read', 'read']),
      kind: random.pick(['before', 'after', 'partial', 'hang', 'truncate']),
      nth: random.between(1, 8),
      amount: random.below(random.pick([4, 2000])),
    }),
  ),
};

const ALL: Readonly<Record<string, Operation>> = {
  ...APPLICATION,
  ...ENGINE,
  ...CHECKS,
  ...FAULTS,
  ...RIVAL,
  ...FOLLOWER,
};

/** Name and operation with its weight. */
const CHOICES = Object.entries(ALL).map((each) => [each[1].weight, each] as const);

/** Does one thing. */
export async function step(world: World): Promise<void> {
  const possible = CHOICES.filter(([, [, { when }]]) => when(world));
  const [name, { counts, run }] = world.random.weighted(possible);
  world.steps.push(name);
  if (counts === true) world.tally.add(name);
  await run(world);
  world.steps[world.steps.length - 1] = `${name} ${world.writer.txid}/${world.writer.history.last}`;
}
