import { type Clock, sleep } from '../../lib/clock.ts';

/** So few databases are done before anybody notices. */
const CROWD = 50;
const LOOK_MS = 250;
/** When nothing has become ready for so long, the rest are waiting for something else. */
const STANDSTILL_MS = 3000;
const WAIT_MS_MAX = 60_000;

/** What is replicated: a replica of a database. */
interface Startable {
  /** It holds something, and so does its database. */
  readonly isReady: boolean;
}

/**
 * With many databases: waits until they have been replicated for the first time, a minute at most. Snapshots and compactions would take
 * the processor and the disk from those that have no backup yet. Spec: failures OPS-07.
 */
export async function firstSyncs(
  all: () => readonly Startable[],
  clock: Clock,
  signal: AbortSignal,
): Promise<void> {
  const start = clock.monotonic();
  let [known, since] = [0, start];
  while (!signal.aborted) {
    const replicas = all();
    const now = clock.monotonic();
    const ready = replicas.filter(({ isReady }) => isReady).length;
    if (replicas.length <= CROWD || ready === replicas.length) return;
    if (ready > known) [known, since] = [ready, now];
    if (now - since >= STANDSTILL_MS || now - start >= WAIT_MS_MAX) return;
    try {
      await sleep(clock, LOOK_MS, signal);
    } catch {
      // Stopped: the loop sees the signal.
    }
  }
}
