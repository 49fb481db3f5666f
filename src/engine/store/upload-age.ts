/** Positions that are kept within the age that is asked for, about. */
const MARKS = 64;

/** A position, and when it was first seen. */
interface Mark {
  readonly at: number;
  readonly position: bigint;
}

/** Remembers how long ago a replica reached a position. */
export class UploadAge {
  #marks: Mark[] = [];

  /**
   * Where the replica stood `ageMs` ago, as far as it was asked for then.
   *
   * @param position - where it stands now
   * @param found - where it stood when it was first looked at: that is old
   * @param time - wall clock and age, in milliseconds
   */
  settled(
    position: bigint,
    found: bigint,
    { ageMs, now }: { readonly ageMs: number; readonly now: number },
  ): bigint {
    const last = this.#marks.at(-1);
    if (last === undefined || position < last.position) {
      this.#marks = [{ at: -Infinity, position: found < position ? found : position }];
    }
    this.#note(position, now, ageMs / MARKS);
    // The clock may have been set back.
    const marks = this.#marks.map((mark) => ({ ...mark, at: Math.min(mark.at, now) }));
    const settled = marks.findLastIndex(({ at }) => at <= now - ageMs);
    this.#marks = marks.slice(Math.max(0, settled));
    return settled < 0 ? 0n : (marks[settled]?.position ?? 0n);
  }

  #note(position: bigint, now: number, spacingMs: number): void {
    const [before, last] = this.#marks.slice(-2);
    const newest = last ?? before;
    if (newest !== undefined && position <= newest.position) return;
    const joins = last !== undefined && before !== undefined && now - before.at < spacingMs;
    if (joins) this.#marks.pop();
    this.#marks.push({ at: now, position });
  }
}
