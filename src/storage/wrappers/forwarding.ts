import { present } from '../../lib/assert.ts';
import type { ReplicaClient } from '../contract.ts';

/** A client that does everything as `client` does, except for the given operations. */
export function forwarding(
  client: ReplicaClient,
  own: Partial<
    Pick<
      ReplicaClient,
      | 'list'
      | 'read'
      | 'open'
      | 'write'
      | 'delete'
      | 'deleteAll'
      | 'listObjects'
      | 'readObject'
      | 'beginWriting'
      | 'close'
    >
  >,
): ReplicaClient {
  return {
    type: client.type,
    location: client.location,
    init: (options) => client.init(options),
    list: (level, options) => client.list(level, options),
    read: (key, options) => client.read(key, options),
    write: (key, source, options) => client.write(key, source, options),
    delete: (keys, options) => client.delete(keys, options),
    deleteAll: (options) => client.deleteAll(options),
    close: () => client.close(),
    ...(client.open && {
      open: (key, options) => present(client.open?.(key, options), 'download'),
    }),
    ...(client.levels && {
      levels: (options) => present(client.levels?.(options), 'levels'),
    }),
    ...(client.localPath && {
      localPath: (key) => present(client.localPath?.(key), 'local path'),
    }),
    ...(client.objectKey && {
      objectKey: (key) => present(client.objectKey?.(key), 'object key'),
    }),
    ...(client.timeOf && {
      timeOf: (file, options) => present(client.timeOf?.(file, options), 'time'),
    }),
    ...(client.listObjects && {
      listObjects: (folder, options) => present(client.listObjects?.(folder, options), 'listing'),
    }),
    ...(client.readObject && {
      readObject: (object, options) => present(client.readObject?.(object, options), 'stream'),
    }),
    ...(client.beginWriting && {
      beginWriting: (options) => present(client.beginWriting?.(options), 'lease'),
    }),
    ...own,
  };
}
