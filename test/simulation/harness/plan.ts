/** What one process of a CI run simulates. */
export interface Plan {
  readonly kind: 'replicated' | 'maintained' | 'followed' | 'contested';
  /** Of a `replicated` one. */
  readonly replicas?: 1 | 2 | undefined;
  /** The first of the seeds that CI repeats. A soak begins elsewhere, each plan at a place of its own. */
  readonly seed: number;
  readonly runs: number;
  /** Steps of one run. A step is one operation or, as a round of upkeep, several. */
  readonly ops: number;
  /** Least number of operations, counted while they are carried out. */
  readonly operations: number;
  /** Seeds that are left out in CI: each is a test by itself, in seeds.test.ts or regressions.test.ts. */
  readonly except?: readonly number[];
}

/** Of one run of CI, all plans together, at least. */
export const OPERATIONS = 1_000_000;

const STEPS = 350;

/** Least number of operations per run: the average of many, less what chance may make of fifty. */
const LEAST = { replicated: 380, maintained: 572, followed: 550, contested: 635 } as const;

/** One plan for each range of seeds: each is a process, and small enough that those that run at the same time end at the same time. */
function parts(
  name: string,
  shape: Pick<Plan, 'kind' | 'replicas' | 'except'>,
  ranges: readonly (readonly [seed: number, runs: number])[],
): [string, Plan][] {
  return ranges.map(([seed, runs], at) => {
    const operations = LEAST[shape.kind] * runs;
    return [`${name}-${at + 1}`, { ...shape, seed, runs, ops: STEPS, operations }];
  });
}

/** Every file `campaigns/<name>.test.ts` carries out the plan of its name. */
export const PLANS: ReadonlyMap<string, Plan> = new Map([
  ...parts('one-replica', { kind: 'replicated', replicas: 1 }, [
    [281_895_245, 175],
    [281_895_420, 175],
  ]),
  ...parts('two-replica', { kind: 'replicated', replicas: 2 }, [
    [281_960_504, 175],
    [281_960_679, 175],
  ]),
  ...parts('maintained', { kind: 'maintained' }, [
    [5054, 110],
    [5164, 110],
    [6000, 130],
    [6130, 130],
    [6260, 130],
    [6390, 130],
    [6520, 130],
    [6650, 130],
    [10_000, 70],
  ]),
  ...parts('followed', { kind: 'followed' }, [
    [20_000, 60],
    [20_060, 60],
  ]),
  ...parts('contested', { kind: 'contested' }, [[40_000, 120]]),
]);

/** Plans whose seeds are new each time, except in CI: what they find are most often situations that nobody has thought of. */
export function isOpen(plan: Plan): boolean {
  return plan.kind === 'replicated';
}
