/** What one process of a CI run simulates. */
export interface Plan {
  readonly kind: 'replicated' | 'maintained' | 'followed';
  /** Of a `replicated` one. */
  readonly replicas?: 1 | 2 | undefined;
  /** The first of the seeds that CI repeats. A soak begins elsewhere, each plan at a place of its own. */
  readonly seed: number;
  readonly runs: number;
  /** Steps of one run. A step is one operation or, as a round of upkeep, several. */
  readonly ops: number;
  /** Least number of operations, counted while they are carried out. */
  readonly operations: number;
  /** Seeds that are left out in CI: each is a test by itself, in maintained.test.ts or regressions.test.ts. */
  readonly except?: readonly number[];
}

/** Of one run of CI, all plans together, at least. */
export const OPERATIONS = 250_000;

export type PlanName = 'followed' | 'maintained' | 'one-replica' | 'two-replica';

const REPLICATED = { kind: 'replicated', runs: 145, ops: 350, operations: 54_000 } as const;
const MAINTAINED = { kind: 'maintained', runs: 220, ops: 350, operations: 128_000 } as const;
const FOLLOWED = { kind: 'followed', runs: 30, ops: 350, operations: 16_000 } as const;

/** Every file `<name>.test.ts` carries out the plan of its name. */
export const PLANS: Readonly<Record<PlanName, Plan>> = {
  'one-replica': { ...REPLICATED, replicas: 1, seed: 281_895_245 },
  'two-replica': { ...REPLICATED, replicas: 2, seed: 281_960_504 },
  maintained: { ...MAINTAINED, seed: 5054 },
  followed: { ...FOLLOWED, seed: 20_000 },
};
