import type { FollowOptions, FollowResult } from './follow.ts';

/**
 * As `followReplica` of `follow.ts`, which is loaded only now: it brings SQLite and what works on its files along, and a plain
 * restore needs neither.
 */
export async function followReplica(options: FollowOptions): Promise<FollowResult> {
  const { followReplica: follow } = await import('./follow.ts');
  return await follow(options);
}
