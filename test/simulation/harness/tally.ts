/**
 * Operations that were carried out, by name: each counts itself where it is done, so that what was drawn and could not be done (the
 * end of a transaction that nobody had begun) does not count, and every part of a round of upkeep does.
 */
export class Tally {
  readonly counts: Map<string, number> = new Map<string, number>();

  add(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }

  get total(): number {
    let sum = 0;
    for (const count of this.counts.values()) sum += count;
    return sum;
  }

  /** Adds what another one counted. */
  take(other: ReadonlyMap<string, number>): void {
    for (const [what, count] of other) this.counts.set(what, (this.counts.get(what) ?? 0) + count);
  }
}
