import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RecordingLogger } from '../../../test/support/engine.ts';
import { warnOfNetworkFileSystems } from './network-warning.ts';

test('OPS-15 databases on network file systems are warned of, once per folder', async () => {
  const logger = new RecordingLogger();
  const databases = ['/nfs/a.db', '/nfs/b.db', '/disk/c.db', '/gone/d.db'].map((path) => ({
    path,
  }));
  await warnOfNetworkFileSystems(databases, logger, (path) => {
    if (path === '/gone') return Promise.reject(new Error('ENOENT'));
    return Promise.resolve(path === '/nfs' ? 'NFS' : undefined);
  });
  assert.deepEqual(
    logger.records.map(({ level, attributes }) => [level, attributes['path'], attributes['type']]),
    [['warn', '/nfs', 'NFS']],
  );
});
