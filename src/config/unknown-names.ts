/** Number of single-character insertions, deletions, replacements and neighbour swaps between two words. */
function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      const swapped =
        i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]
          ? (before[j - 2] ?? 0) + 1
          : Infinity;
      next.push(Math.min(replaced, swapped, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    before = row;
    row = next;
  }
  return row[b.length] ?? 0;
}

/** The one known key that the word is probably meant to be. */
function closest(word: string, known: readonly string[]): string | undefined {
  const plain = word.toLowerCase().replaceAll('_', '-');
  const limit = plain.length < 5 ? 1 : 2;
  const near = known
    .map((key) => ({ key, distance: editDistance(plain, key) }))
    .filter(({ distance }) => distance <= limit)
    .toSorted((a, b) => a.distance - b.distance);
  const [first, second] = near;
  return first !== undefined && first.distance !== second?.distance ? first.key : undefined;
}

/** What an unknown name was probably meant to be, in words. */
export function unknownName(word: string, known: readonly string[]): string | undefined {
  const meant = closest(word, known);
  return meant === undefined ? undefined : `did you mean ${meant}`;
}

const SAFETY_WORDS: ReadonlySet<string> = new Set(
  'acl age encrypt encrypted encryption kms lease lock sse ssl tls verify'.split(' '),
);

/** True for a name, in either spelling, that speaks of encryption, certificates or leases. */
export function isSafetyWord(name: string): boolean {
  const words = name
    .replaceAll(/([a-z])([A-Z])/g, '$1-$2')
    .toLowerCase()
    .split(/[-_.]/);
  return words.some((word) => SAFETY_WORDS.has(word));
}
