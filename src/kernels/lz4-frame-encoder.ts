import { lz4Compress } from './functions.ts';
import { lz4Bound } from './lz4.ts';
import {
  descriptorChecksum,
  FLG_BLOCK_CHECKSUM,
  FLG_CONTENT_CHECKSUM,
  FLG_CONTENT_SIZE,
  FLG_INDEPENDENT,
  FLG_VERSION_1,
  LZ4_FRAME_MAGIC,
  SMALLEST_BLOCK_CODE,
  STORED,
} from './lz4-frame-descriptor.ts';
import { xxh32 } from './xxh32.ts';

/** How {@link encodeLz4Frame} deviates from what Litestream v0.5.0 – v0.5.15 wrote; for tests. */
export interface Lz4FrameOptions {
  /** 4 (64 KiB, the default) to 7 (4 MiB). */
  readonly blockSizeCode?: number;
  /** Bytes of content per block; default: all in one. */
  readonly bytesPerBlock?: number;
  readonly blockChecksum?: boolean;
  readonly contentSize?: boolean;
  /** False writes a frame that must be rejected. */
  readonly contentChecksum?: boolean;
}

/** Bytes with a write position. */
class Writer {
  readonly #bytes: Uint8Array<ArrayBuffer>;
  readonly #view: DataView;
  #at = 0;

  constructor(capacity: number) {
    this.#bytes = new Uint8Array(capacity);
    this.#view = new DataView(this.#bytes.buffer);
  }

  u8(value: number): void {
    this.#view.setUint8(this.#at++, value);
  }

  u32le(value: number): void {
    this.#view.setUint32(this.#at, value, true);
    this.#at += 4;
  }

  put(bytes: Uint8Array): void {
    this.#bytes.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  /** What was written from `start` on. */
  since(start: number): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(start, this.#at);
  }
}

function putDescriptor(out: Writer, size: number, options: Lz4FrameOptions): void {
  out.u32le(LZ4_FRAME_MAGIC);
  let flags = FLG_VERSION_1 | FLG_INDEPENDENT;
  if (options.blockChecksum === true) flags |= FLG_BLOCK_CHECKSUM;
  if (options.contentSize === true) flags |= FLG_CONTENT_SIZE;
  if (options.contentChecksum !== false) flags |= FLG_CONTENT_CHECKSUM;
  out.u8(flags);
  out.u8((options.blockSizeCode ?? SMALLEST_BLOCK_CODE) << 4);
  if (options.contentSize === true) {
    out.u32le(size);
    out.u32le(0);
  }
  out.u8(descriptorChecksum(out.since(4)));
}

/** One LZ4 frame; a block that does not shrink is stored. Spec: formats 2.6. */
export function encodeLz4Frame(
  page: Uint8Array,
  options: Lz4FrameOptions = {},
): Uint8Array<ArrayBuffer> {
  const step = options.bytesPerBlock ?? page.length;
  const blocks = Math.ceil(page.length / step);
  const out = new Writer(23 + page.length + blocks * 8);
  putDescriptor(out, page.length, options);
  const compressed = new Uint8Array(lz4Bound(step));
  for (let at = 0; at < page.length; at += step) {
    const raw = page.subarray(at, at + step);
    const size = lz4Compress(raw, compressed);
    const stored = size >= raw.length;
    const block = stored ? raw : compressed.subarray(0, size);
    out.u32le(stored ? STORED + raw.length : size);
    out.put(block);
    if (options.blockChecksum === true) out.u32le(xxh32(block));
  }
  out.u32le(0);
  if (options.contentChecksum !== false) out.u32le(xxh32(page));
  return out.since(0);
}
