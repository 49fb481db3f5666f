/** An invariant does not hold. */
export class Violation extends Error {
  override readonly name = 'Violation';
}

/** @throws Violation unless the condition holds. */
export function check(condition: boolean, expectation: string): asserts condition {
  if (!condition) throw new Violation(expectation);
}
