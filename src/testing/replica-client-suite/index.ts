import { describe } from 'node:test';
import { skipSuite } from '../required-suites.ts';
import { abortTests } from './abort.ts';
import type { SuiteCapabilities, SuiteFactory } from './contract.ts';
import { concurrencyTests } from './concurrency.ts';
import { deletingTests } from './deleting.ts';
import { listingTests } from './listing.ts';
import { readingTests } from './reading.ts';
import { writingTests } from './writing.ts';

export type { SuiteCapabilities, SuiteFactory, SuiteRemote } from './contract.ts';

/**
 * The tests that every implementation of `ReplicaClient` has to pass. Call it at the top level of a test file that `node:test`
 * runs.
 *
 * @param name - of the provider; `LITESTREAM_TEST_REQUIRED` refers to it.
 * @param factory - a new, empty remote. Called once per test.
 */
export function replicaClientSuite(
  name: string,
  factory: SuiteFactory,
  capabilities: SuiteCapabilities = {},
): void {
  if (capabilities.unavailable !== undefined) {
    skipSuite(name, capabilities.unavailable);
    return;
  }
  void describe(`replica client: ${name}`, () => {
    const suite = { factory, capabilities };
    listingTests(suite);
    readingTests(suite);
    writingTests(suite);
    deletingTests(suite);
    abortTests(suite);
    concurrencyTests(suite);
  });
}
