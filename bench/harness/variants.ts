import { present } from '../../src/lib/assert.ts';
import { least, median } from './figures.ts';
import { cpuSeconds } from './processes.ts';

/** Seconds of every round; processor time is that of this process and its children. */
export interface Measured {
  readonly seconds: number[];
  readonly cpu: number[];
}

export interface Variant {
  readonly name: string;
  /** Not measured. */
  readonly prepare?: () => void;
  readonly run: () => void | Promise<void>;
}

/**
 * Runs variants in turn, so that what disturbs the machine disturbs all of them, and `check` after each round. A round before the
 * first is not counted: code is compiled in it.
 */
export async function measureRounds(
  rounds: number,
  variants: readonly Variant[],
  check: () => void,
): Promise<ReadonlyMap<string, Measured>> {
  const measured = new Map(
    variants.map(({ name }): [string, Measured] => [name, { seconds: [], cpu: [] }]),
  );
  for (let round = 0; round <= rounds; round++) {
    for (const { name, prepare, run } of variants) {
      prepare?.();
      const [start, cpu] = [performance.now(), cpuSeconds('self')];
      await run();
      if (round === 0) continue;
      const { seconds, cpu: spent } = present(measured.get(name), name);
      seconds.push((performance.now() - start) / 1000);
      spent.push(cpuSeconds('self') - cpu);
    }
    check();
  }
  return measured;
}

/** A line for each variant, with its ratios to the limits. */
export function printRatios(
  measured: ReadonlyMap<string, Measured>,
  limits: readonly string[],
): void {
  for (const [name, { cpu, seconds }] of measured) {
    const ratios = limits.map((of) => {
      const limit = present(measured.get(of), of);
      const time = (least(seconds) / least(limit.seconds)).toFixed(2);
      return `${of}: time ${time}×, CPU ${(median(cpu) / median(limit.cpu)).toFixed(2)}×`;
    });
    process.stdout.write(
      `${name.padEnd(20)}${least(seconds).toFixed(2).padStart(6)} s ${median(cpu).toFixed(2).padStart(6)} CPU s   ${ratios.join('   ')}\n`,
    );
  }
}
