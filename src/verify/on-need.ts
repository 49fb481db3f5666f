import type { VerifyReport } from './report.ts';
import type { VerifyOptions } from './verify.ts';

/**
 * As `verifyReplica` of `verify.ts`, which is loaded only now: it brings the whole restore along, and most daemons verify nothing, or
 * not for hours.
 */
export async function verifyReplica(options: VerifyOptions): Promise<VerifyReport> {
  const { verifyReplica: verify } = await import('./verify.ts');
  return await verify(options);
}
