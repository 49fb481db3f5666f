/**
 * Runs the engine or a restore in a process of its own that dies by SIGKILL before or after the n-th file operation with a given
 * label. Without a label it prints how often each label came up. `node deadly-child.ts JSON`
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Store } from '../../src/engine/index.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { nodeFileSystem } from '../../src/lib/file-system.ts';
import { restoreDatabase } from '../../src/restore/index.ts';
import { openFileReplica } from '../../src/storage/index.ts';
import { noopLogger, noopMetrics } from '../../src/telemetry/index.ts';
import { FaultyFileSystem } from '../../src/testing/index.ts';

/** What the process does, and where it dies. */
export interface DeadlyOrder {
  /** `replicate`: with compaction, snapshots and retention every few hundred ms; `settle`: one sync; `restore`. */
  readonly what: 'replicate' | 'settle' | 'restore';
  readonly database: string;
  readonly replica: string;
  /** How long to replicate at most. */
  readonly ms?: number;
  /** Replicate until each of these labels has come up. */
  readonly until?: readonly string[];
  readonly output?: string;
  /** The first operation with this label fails, as on a full disk. */
  readonly fails?: string;
  /** Restore: replaces what is there, and checks the integrity of what it wrote. */
  readonly force?: boolean;
  readonly autoRecover?: boolean;
  readonly label?: string;
  readonly nth?: number;
  readonly after?: boolean;
}

/** Tells what is done to compacted files and snapshots from what is done to uploads: ` level N`, nothing for level 0. */
function levelOf(path: string): string {
  const [, level = '0'] = /\/ltx\/(\d)(?:\/|$)/.exec(path) ?? [];
  return level === '0' ? '' : ` level ${level}`;
}

class DeadlyFileSystem extends FaultyFileSystem {
  readonly counts = new Map<string, number>();
  readonly #order: DeadlyOrder;

  constructor(order: DeadlyOrder) {
    super(nodeFileSystem);
    this.#order = order;
  }

  override async run<T>(own: string, path: string, call: () => Promise<T>): Promise<T> {
    const label = this.#order.what === 'replicate' ? own + levelOf(path) : own;
    const count = (this.counts.get(label) ?? 0) + 1;
    this.counts.set(label, count);
    const { after = false, label: wanted, nth = 1 } = this.#order;
    if (label !== wanted || count !== nth) return super.run(own, path, call);
    if (after) await super.run(own, path, call);
    process.kill(process.pid, 'SIGKILL');
    // Not reached: the signal is delivered before the system call returns.
    return call();
  }
}

const order = JSON.parse(process.argv[2] ?? '{}') as DeadlyOrder;
const fileSystem = new DeadlyFileSystem(order);
if (order.fails !== undefined) fileSystem.fail('ENOSPC', { label: order.fails });
const clock = systemClock;
const client = await openFileReplica(order.replica, { fileSystem, clock, logger: noopLogger });

if (order.what === 'restore') {
  const outputPath = order.output ?? '';
  const { force = false } = order;
  const integrityCheck = force ? 'quick' : 'none';
  const ports = { fileSystem, clock, logger: noopLogger };
  await restoreDatabase({ client, outputPath, target: {}, force, integrityCheck, ...ports });
} else {
  const store = new Store(
    {
      databases: [
        {
          path: order.database,
          metaPath: `${order.database}-meta`,
          monitorIntervalMs: 50,
          monitorIntervalExplicit: false,
          checkpointIntervalMs: 500,
          busyTimeoutMs: 1000,
          minCheckpointPages: 100,
          truncatePages: 0,
          maxSyncWalBytes: 0,
          replicas: [
            {
              client,
              syncIntervalMs: 50,
              syncIntervalExplicit: false,
              maxSyncLtxFiles: 0,
              autoRecover: order.autoRecover ?? false,
            },
          ],
        },
      ],
      shutdownSyncTimeoutMs: 10_000,
      shutdownSyncIntervalMs: 100,
      levels: [
        { level: 1, intervalMs: 200 },
        { level: 2, intervalMs: 600 },
      ],
      snapshotIntervalMs: 500,
      snapshotRetentionMs: 700,
      l0RetentionMs: 100,
      l0RetentionCheckIntervalMs: 100,
      retentionEnabled: true,
      verifyCompaction: true,
      monitors: order.what === 'replicate',
    },
    { clock, fileSystem, logger: noopLogger, metrics: noopMetrics, random: () => 0.5 },
  );
  await store.open();
  if (order.what === 'replicate') {
    const { until = [] } = order;
    const end = clock.monotonic() + (order.ms ?? 1000);
    const isOver = (): boolean =>
      until.length > 0 && until.every((label) => fileSystem.counts.has(label));
    while (clock.monotonic() < end && !isOver()) await sleep(20);
  } else {
    await store.syncDatabase(order.database);
  }
  const [failure] = await store.close();
  if (failure !== undefined) throw failure;
}
process.stdout.write(JSON.stringify([...fileSystem.counts]), () => process.exit(0));
