import { present } from '../../src/lib/assert.ts';

/** Milliseconds. */
export interface HoldUps {
  readonly p99: number;
  readonly max: number;
}

/**
 * How long work in this process holds up the event loop: processor time of this thread between two looks of a timer. Elapsed time would
 * mostly tell how busy the machine is.
 */
export async function holdUps(run: () => Promise<unknown>): Promise<HoldUps> {
  const turns: number[] = [];
  let last = process.threadCpuUsage();
  const look = (): void => {
    const now = process.threadCpuUsage();
    turns.push((now.system + now.user - last.system - last.user) / 1000);
    last = now;
  };
  const timer = setInterval(look, 1);
  try {
    await run();
  } finally {
    clearInterval(timer);
  }
  look();
  const sorted = turns.toSorted((a, b) => b - a);
  return {
    p99: present(sorted[Math.floor(sorted.length / 100)], 'turn'),
    max: present(sorted[0], 'turn'),
  };
}
