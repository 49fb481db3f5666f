import type { TestContext } from 'node:test';
import { REFERENCE_VERSION, referenceBinary } from '../../tools/reference.ts';
import type { Program } from './program.ts';

/** A release of the reference; where it cannot be installed the test skips in plain sight and gets undefined. */
export async function needReference(
  t: TestContext,
  version: string = REFERENCE_VERSION,
): Promise<Program | undefined> {
  const path = await referenceBinary(version);
  if (path !== undefined) return { name: `reference ${version}`, path, foreign: true };
  t.skip(`reference: version ${version} cannot be installed here (needs python3 with pip)`);
  return undefined;
}
