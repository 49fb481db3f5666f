import type { LtxHeader, PageIndex } from '../formats/ltx/index.ts';
import type { Kernel } from '../kernels/index.ts';

/** Choices of an `LtxFileWriter`. */
export interface LtxFileWriterOptions {
  /** Validated by the constructor. */
  readonly header: LtxHeader;
  /**
   * Receives the file's bytes in order; `position` is the offset of the first one. `bytes` is valid until the returned
   * promise resolves.
   */
  readonly sink: (bytes: Uint8Array, position: number) => void | Promise<void>;
  /** A kernel to work in. Without it one is borrowed until `finish` or `discard`. */
  readonly kernel?: Kernel;
  /**
   * Where the writer's memory begins in the given kernel, a multiple of 64; `kernel.base` without it. It takes
   * `writerBytes`.
   */
  readonly base?: number;
  /** CRC stream of the given kernel that the writer uses, 0 without it. */
  readonly stream?: number;
  /** Bytes collected before `needsFlush` becomes true, 256 KiB without it. */
  readonly chunkBytes?: number;
  /** Adds the page index to the result. */
  readonly keepIndex?: boolean;
}

/** A file that was written to its end. */
export interface WrittenLtxFile {
  readonly header: LtxHeader;
  /** Bytes of the file. */
  readonly size: number;
  /** With bit 63 set. */
  readonly fileChecksum: bigint;
  readonly pageCount: number;
  /** Only if it was asked for. */
  readonly index?: PageIndex;
}

/** Frames of consecutive pages that were encoded elsewhere. */
export interface EncodedPart {
  /** All frames, one after the other. */
  readonly frames: Uint8Array;
  /** Size of each frame. */
  readonly sizes: Uint32Array;
  readonly pgnos: Uint32Array;
  /** CRC register over headers, sizes and pages, seeded with 0. */
  readonly state: bigint;
  /** Bytes that went into `state`. */
  readonly hashed: number;
}
