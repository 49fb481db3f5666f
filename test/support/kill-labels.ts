/** Every labelled file operation of capture, upload, compaction, retention and restore, and where a process dies at it. */

/** What is only looked at: to die afterwards is to die before the next operation. */
export const LOOK: RegExp =
  /^close$|:(free|list|open-source|read|read-header|read-source|read-stat|reopen|size|stat|stat-[a-z]+|write-stat)$/;

/** A daemon comes upon these by itself: it dies at each of them, as at everything else that it does. */
export const DAEMON: readonly string[] = [
  'file:adopt',
  'file:copy',
  'file:create',
  'file:delete',
  'file:link',
  'file:make-directory',
  'file:open',
  'file:rename',
  'file:set-owner',
  'file:set-times',
  'file:sync',
  'file:sync-directory',
  'file:sync-parent',
  'file:unlink',
  'file:write',
  'l0:chown',
  'l0:fsync',
  'l0:fsync-dir',
  'l0:mkdir',
  'l0:open',
  'l0:remove',
  'l0:rename',
  'l0:write',
  'lock:mkdir',
  'lock:open',
  'lock:remove',
  'lock:write',
  'spool:chown',
  'spool:open',
  'spool:remove',
  'spool:write',
];

/** The same for a restore. */
export const RESTORE: readonly string[] = [
  'restore:create',
  'restore:mkdir',
  'restore:open',
  'restore:publish',
  'restore:sidecar',
  'restore:sync',
  'restore:sync-folder',
  'restore:truncate',
  'restore:write',
];

/** These take preparations. */
export const RARE: readonly string[] = [
  'file:clean-up',
  'integrity:remove',
  'l0:clean',
  'l0:discard',
  'l0:fetch',
  'l0:reset',
  'restore:discard',
  'restore:owner',
];

/** Nobody dies at these in a process of his own. */
export const ELSEWHERE: Readonly<Record<string, string>> = {
  'file:delete-all': 'no command and no daemon does it',
  'file:exact-times': 'times alone, in the background',
  'file:sync-early': 'between two writes of a large file that has no name yet',
  'l0:sync-early': 'between two writes of a large file that has no name yet',
  'l0:merge': 'the queue has to be above 1 GiB: src/engine/store/queue-bound.test.ts',
  'restore:create-wal': 'data of v0.3.x: src/restore/legacy.test.ts',
  'restore:sync-early': 'between two writes of a large file that has no name yet',
  'restore:write-wal': 'data of v0.3.x: src/restore/legacy.test.ts',
  'spool:truncate': 'between two writes of a file that has no name yet',
};
