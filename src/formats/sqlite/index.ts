export {
  DATABASE_HEADER_SIZE,
  hasDatabaseMagic,
  parseDatabaseHeader,
  patchFollowedPage,
  stampFollowedPage,
  type DatabaseHeader,
} from './database-header.ts';
export {
  createFrameScan,
  encodeWalHeader,
  parseWalFrame,
  parseWalHeader,
  scanFrames,
  WAL_FRAME_HEADER_SIZE,
  WAL_HEADER_SIZE,
  walSize,
  type FrameScan,
  type WalFrame,
  type WalHeader,
  type WalHeaderFields,
  type WalHeaderResult,
} from './wal.ts';
export { buildWal, type WalFrameContent } from './wal-writer.ts';
