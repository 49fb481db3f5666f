import { after } from 'node:test';

/** What a server belongs to: a test (its `TestContext`), or a whole test file by {@link fileScope}. */
export interface Scope {
  after(release: () => unknown): void;
  /** How a test is skipped. Absent where it is too late for that. */
  skip?(reason: string): void;
}

/** The test file. Call it at the top level; what is started with it may be shared by all tests of the file. */
export function fileScope(): Scope {
  const releases: (() => unknown)[] = [];
  after(async () => {
    for (const release of releases.toReversed()) await release();
  });
  return {
    after: (release) => {
      releases.push(release);
    },
  };
}
