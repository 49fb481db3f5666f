import { randomNumbers } from '../../../src/testing/index.ts';

/** Repeatable choices. */
export class Random {
  readonly next: () => number;

  constructor(seed: number) {
    this.next = randomNumbers(seed);
  }

  /** 0 … limit − 1. */
  below(limit: number): number {
    return Math.floor(this.next() * limit);
  }

  /** low … high. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  chance(share: number): boolean {
    return this.next() < share;
  }

  pick<T>(list: readonly T[]): T {
    const one = list[this.below(list.length)];
    if (one === undefined) throw new Error('nothing to pick from');
    return one;
  }

  /** One of the names, as often as its weight says. */
  weighted<T>(choices: readonly (readonly [weight: number, choice: T])[]): T {
    let at = this.next() * choices.reduce((sum, [weight]) => sum + weight, 0);
    for (const [weight, choice] of choices) {
      at -= weight;
      if (at < 0) return choice;
    }
    return this.pick(choices)[1];
  }

  bytes(size: number): Buffer {
    const bytes = Buffer.alloc(size, this.below(256));
    for (let at = 0; at < size; at += 16) bytes[at] = this.below(256);
    return bytes;
  }
}
