import fs, { fstatSync as originalFstat } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { DatabaseSync, StatementSync } from 'node:sqlite';
import { SimulatedCrash } from '../../../src/testing/index.ts';

/** The simulation whose engine is running now. */
let current: Interference | undefined;

function point(): void {
  current?.point();
}

/**
 * What other processes do, and when this one dies, between any two steps of the engine: before each read of the database or its
 * WAL, each SQL statement, each look at the clock, each file operation.
 */
export class Interference {
  /** Share of points at which others act. */
  rate = 0;
  /** What others do. */
  act: () => void = () => undefined;
  #random: () => number;
  #inside = false;
  #countdown = 0;
  #dead = false;
  points = 0;

  constructor(random: () => number) {
    this.#random = random;
  }

  get dead(): boolean {
    return this.#dead;
  }

  /** True while others act in the middle of the engine's work. */
  get inside(): boolean {
    return this.#inside;
  }

  /** True while the engine is at work, others acting in between or not. */
  get inEngine(): boolean {
    return current === this;
  }

  /** The engine's process dies at the n-th point from now. */
  dieAfter(points: number): void {
    this.#countdown = points;
  }

  /** The engine's process is dead. */
  kill(): void {
    this.#dead = true;
  }

  /** A new process. */
  reset(): void {
    this.#dead = false;
    this.#countdown = 0;
  }

  /** A point that is reached through an object of this simulation's. */
  engineCall(): void {
    if (this.inEngine) this.point();
  }

  point(): void {
    if (this.#inside) return;
    this.points++;
    if (this.#countdown > 0 && --this.#countdown === 0) this.#dead = true;
    if (this.#dead) throw new SimulatedCrash('the process has died');
    if (this.rate === 0 || this.#random() >= this.rate) return;
    this.outside(this.act);
  }

  /** Runs what is not the engine's. */
  outside<T>(body: () => T): T {
    const before = this.#inside;
    this.#inside = true;
    try {
      return body();
    } finally {
      this.#inside = before;
    }
  }

  /** Runs the engine with these points armed. */
  async engine<T>(body: () => Promise<T>): Promise<T> {
    install();
    // oxlint-disable-next-line typescript/no-this-alias -- the patched functions have no other way to find it
    current = this;
    try {
      return await body();
    } finally {
      current = undefined;
    }
  }
}

let installed = false;

/** Replaces, for this process, the functions through which the engine reaches database files. */
function install(): void {
  if (installed) return;
  installed = true;
  const { readSync } = fs;
  const before = (target: object, name: string): void => {
    const original: unknown = Reflect.get(target, name);
    if (typeof original !== 'function') throw new Error(`no function ${name}`);
    Reflect.set(target, name, function replaced(this: unknown, ...values: unknown[]): unknown {
      point();
      const result: unknown = Reflect.apply(original, this, values);
      return result;
    });
  };
  before(fs, 'readSync');
  before(fs, 'fstatSync');
  before(StatementSync.prototype, 'run');
  before(StatementSync.prototype, 'get');
  before(DatabaseSync.prototype, 'exec');
  syncBuiltinESMExports();
  if (fs.readSync === readSync || originalFstat !== fs.fstatSync) {
    throw new Error('file functions cannot be replaced');
  }
}
