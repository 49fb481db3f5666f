export type {
  CallOptions,
  Download,
  FileInfo,
  FileKey,
  ListOptions,
  ObjectInfo,
  ReadKey,
  ReadOptions,
  ReplicaClient,
  ReplicaOwnership,
  WriteOptions,
  WriteSource,
} from './contract.ts';
export { headerTimestamp } from './header-time.ts';
export type {
  AbsLocation,
  FileLocation,
  GsLocation,
  NatsLocation,
  OssLocation,
  ReplicaLocation,
  S3Location,
  SftpLocation,
  WebdavLocation,
} from './locations.ts';
export { cleanPath, joinPath, layoutFor, type Layout, type ReplicaType } from './layouts.ts';
export { openFileReplica, openReplica, type ReplicaClientOptions } from './registry.ts';
export { bytesSource, fileSource } from './sources.ts';
export {
  abortable,
  collect,
  concatBytes,
  downloadOf,
  mapOrdered,
  readAll,
  readRange,
} from './streams.ts';
export { isUrl, parseReplicaUrl, type ParsedReplicaUrl } from './url.ts';
export { resumableReads, type ResumableReadPorts } from './wrappers/resumable-read.ts';
