export {
  createFrameScan,
  parseWalFrame,
  parseWalHeader,
  scanFrames,
  WAL_FRAME_HEADER_SIZE,
  WAL_HEADER_SIZE,
  walSize,
  type FrameScan,
  type WalFrame,
  type WalHeader,
  type WalHeaderResult,
} from './wal.ts';
