import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { decodeLtxFile, matchFileName } from '../../../src/formats/ltx/index.ts';
import { CHECKPOINT_MODES } from './application.ts';
import { reset } from './judgement.ts';
import type { Simulation } from './simulation.ts';
import { lastIn } from './sync-file-system.ts';

/** Labels of file operations at which the daemon dies or the disk fails. */
const LABELS = [
  'l0:open',
  'l0:write',
  'l0:fsync',
  'l0:rename',
  'l0:fsync-dir',
  'l0:mkdir',
  'l0:list',
];
const DAY_MS = 86_400_000;

/** One thing that may happen. */
interface Operation {
  readonly weight: number;
  readonly when: (simulation: Simulation) => boolean;
  readonly run: (simulation: Simulation) => Promise<void> | void;
  /** It is one operation by itself; others consist of what counts where it is done. */
  readonly counts?: boolean;
}

const always = (): boolean => true;
const up = ({ engine }: Simulation): boolean => engine.running;
const down = ({ engine }: Simulation): boolean => !engine.running;
/** Local files may get lost: what remains of the history is known at the next start, unless blind starts are wanted. */
const losable = (s: Simulation): boolean => {
  if (!down(s)) return false;
  const tips = s.ledger.remotes.map(({ tip }) => tip);
  return s.options.blindStarts === true || tips.every((tip) => tip === tips[0]);
};
const closed = (s: Simulation): boolean => !s.application.open;
const abandoned = (s: Simulation): boolean => down(s) && closed(s);

function operation(weight: number, when: Operation['when'], run: Operation['run']): Operation {
  return { weight, when, run };
}

function event(weight: number, when: Operation['when'], run: Operation['run']): Operation {
  return { weight, when, run, counts: true };
}

/** How often others act in the middle of the engine's next piece of work. */
function rate({ random }: Simulation): number {
  return random.pick([0, 0, 0, 0.005, 0.02, 0.08]);
}

const APPLICATION: Readonly<Record<string, Operation>> = {
  transact: operation(34, always, ({ application }) => application.transact()),
  'begin large': operation(1.5, always, ({ application }) => application.beginLarge()),
  'continue large': operation(1.5, always, ({ application }) => application.continueLarge()),
  'end large': operation(3, always, ({ application }) => application.endLarge()),
  vacuum: operation(1, always, ({ application }) => application.vacuum()),
  checkpoint: operation(5, always, ({ application, random }) =>
    application.checkpoint(random.pick(CHECKPOINT_MODES)),
  ),
  'open reader': operation(2, always, ({ application }) => application.openReader()),
  'close reader': operation(3, always, ({ application }) => application.closeReader()),
  disconnect: operation(0.7, always, ({ application }) => application.disconnect()),
  connect: operation(8, closed, ({ application }) => application.connect()),
  save: operation(0.5, always, ({ application }) => application.save()),
};

const ENGINE: Readonly<Record<string, Operation>> = {
  sync: operation(30, up, (s) => s.sync(rate(s))),
  upload: operation(14, up, (s) => s.upload(s.random.below(s.engine.destinations.length), rate(s))),
  view: operation(1, up, (s) => s.view(rate(s))),
  'stop cleanly': operation(0.8, up, async (s) => {
    await s.sync(rate(s));
    for (const index of s.engine.destinations.keys())
      if (s.engine.running) await s.upload(index, 0);
    if (s.engine.running) await s.stop();
  }),
  kill: operation(0.6, up, (s) => {
    s.interference.kill();
    return s.stop();
  }),
  start: operation(12, down, async (s) => {
    s.engine.start();
    await s.sync(rate(s));
  }),
  'restore latest': operation(0.6, always, (s) => {
    const index = s.random.below(s.ledger.remotes.length);
    return s.restore(index, s.ledger.remotes[index]?.tip ?? 0n);
  }),
  'restore any': operation(0.6, always, (s) => {
    const index = s.random.below(s.ledger.remotes.length);
    return s.restore(index, BigInt(s.random.below(Number(s.ledger.remotes[index]?.tip ?? 0n) + 1)));
  }),
};

const FAULTS: Readonly<Record<string, Operation>> = {
  'die at a call': event(1, up, (s) => {
    const label = s.random.pick(LABELS);
    s.engine.fileSystem.crash({ label, nth: s.random.between(1, 3), after: s.random.chance(0.5) });
  }),
  'die anywhere': event(1.5, up, (s) =>
    s.interference.dieAfter(s.random.between(1, s.random.pick([10, 100, 1000]))),
  ),
  'disk fails': event(1.5, up, (s) => {
    s.faults = true;
    const errno = s.random.pick(['EIO', 'ENOSPC']);
    const label = s.random.pick(LABELS);
    s.engine.fileSystem.fail(errno, { label, nth: s.random.between(1, 3) });
  }),
  'disk works': event(
    1,
    ({ faults }) => faults,
    (s) => {
      s.engine.fileSystem.reset();
      s.faults = false;
    },
  ),
  'destination down or up': event(1.5, always, (s) => {
    const destination = s.random.pick(s.engine.destinations);
    destination.down = !destination.down;
    destination.client.setDown(destination.down);
  }),
  'request fails': event(3, always, (s) => {
    s.random.pick(s.engine.destinations).client.inject({
      operation: s.random.pick(['list', 'read', 'write', 'write', 'write']),
      kind: s.random.pick(['before', 'after', 'partial']),
      nth: s.random.between(1, 4),
      amount: s.random.below(2000),
    });
  }),
  'time passes': event(5, always, (s) => s.clock.pass(s.random.pick([5, 100, 2000, 40_000]))),
  'clock is set': event(0.5, always, (s) => s.clock.jump((s.random.next() - 0.5) * DAY_MS)),
  'metadata removed': event(0.25, losable, (s) => {
    reset(s);
    return restart(s);
  }),
  'newest file removed': event(0.2, losable, (s) => harm(s, () => undefined)),
  'newest file damaged': event(0.2, losable, (s) => {
    return harm(s, (bytes) => {
      const at = s.random.below(bytes.length);
      bytes[at] = (bytes[at] ?? 0) ^ (1 << s.random.below(8));
      return bytes;
    });
  }),
  'newest file cut': event(0.2, losable, (s) => {
    return harm(s, (bytes) => bytes.subarray(0, s.random.below(bytes.length)));
  }),
  replace: operation(1.5, abandoned, ({ application }) => application.replace()),
  rebuild: operation(2, abandoned, ({ application }) => application.rebuild()),
};

const ALL: Readonly<Record<string, Operation>> = { ...APPLICATION, ...ENGINE, ...FAULTS };

function isValid(bytes: Uint8Array): boolean {
  try {
    decodeLtxFile(bytes);
    return true;
  } catch {
    return false;
  }
}

/** Somebody does something to the newest local file while the daemon is down. */
async function harm(s: Simulation, change: (bytes: Buffer) => Buffer | undefined): Promise<void> {
  const path = lastIn(s.engine.level0);
  if (path === undefined || !existsSync(path)) return;
  const txid = matchFileName(path.slice(path.lastIndexOf('/') + 1))?.maxTxid;
  const changed = change(readFileSync(path));
  // Compressed data may have several forms: what still says the same is not damaged.
  if (changed !== undefined && isValid(changed)) return;
  if (changed === undefined) {
    rmSync(path);
  } else {
    writeFileSync(path, changed);
    if (txid !== undefined) s.ledger.damaged.set(txid, changed);
  }
  s.harmed = true;
  await restart(s);
}

/** The first start after local files got lost hears every replica. */
async function restart(s: Simulation): Promise<void> {
  if (s.options.blindStarts === true) return;
  s.reachAll();
  // Twice if an operator has to remove what is damaged.
  for (let attempt = 0; attempt < 2; attempt++) {
    s.engine.start();
    await s.sync(0);
    if (s.engine.running) return;
  }
}

/** Name and operation with its weight. */
const CHOICES = Object.entries(ALL).map((each) => [each[1].weight, each] as const);

/** Does one thing. */
export async function step(simulation: Simulation): Promise<void> {
  const possible = CHOICES.filter(([, [, { when }]]) => when(simulation));
  const [name, { counts, run }] = simulation.random.weighted(possible);
  const { engine, history, steps } = simulation;
  steps.push(name);
  if (counts === true) simulation.tally.add(name);
  await run(simulation);
  steps[steps.length - 1] = `${name} ${engine.txid}/${history.last}`;
}
