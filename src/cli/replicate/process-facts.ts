import type { ProcessFacts } from '../../server/index.ts';
import type { Clock } from '../../lib/clock.ts';

/** What this process can tell about itself. */
export function processFacts(clock: Clock): ProcessFacts {
  return {
    startedAt: performance.timeOrigin / 1000,
    nodeVersion: process.version,
    monotonic: () => clock.monotonic(),
    cpuSeconds: () => {
      const { system, user } = process.cpuUsage();
      return (system + user) / 1e6;
    },
    memory: () => {
      const { external, heapTotal, heapUsed, rss } = process.memoryUsage();
      return { external, heapTotal, heapUsed, resident: rss };
    },
  };
}
