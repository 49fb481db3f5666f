import { assert } from '../lib/assert.ts';
import * as crc64Twin from './crc64.ts';
import { createKernel, kernelKind } from './create-kernel.ts';
import type { Kernel, KernelKind } from './kernel.ts';
import * as lz4Twin from './lz4.ts';

/**
 * Single pages through the kernel: one shared memory, bytes copied in and out. Pipelines that move many pages own a kernel
 * (`createKernel`) and copy nothing.
 */

/** Largest block side: the bound of a 64 KiB page, rounded up. */
const SIDE = 80 * 1024;

let shared: Kernel | undefined;

function sharedKernel(): Kernel {
  shared ??= createKernel({ arenaBytes: 256 * 1024, streams: 1 });
  return shared;
}

/** Which implementation runs behind these functions; asking compiles the module. */
export const kernelInfo: { readonly kind: KernelKind } = {
  get kind(): KernelKind {
    return kernelKind();
  },
};

/** CRC-64/GO-ISO of `bytes`, unsigned. Spec: formats 2.10. */
export function crc64(bytes: Uint8Array): bigint {
  // Below a few pages the copy and the final reduction cost more than they save.
  if (bytes.length < 16_384 || kernelKind() === 'typescript') return crc64Twin.crc64(bytes);
  const kernel = sharedKernel();
  const room = kernel.limit - kernel.base;
  kernel.crcReset(0);
  for (let at = 0; at < bytes.length; at += room) {
    const part = bytes.subarray(at, at + room);
    kernel.bytes.set(part, kernel.base);
    kernel.crcUpdate(0, kernel.base, part.length);
  }
  return kernel.crcValue(0);
}

/**
 * Compresses `source` into one LZ4 block at the start of `target`.
 *
 * @returns bytes written. Incompressible input becomes a literal-only block, never larger than `lz4Bound`.
 * @throws LitestreamError `ERR_ASSERTION` if `target` is shorter than `lz4Bound(source.length)`.
 *
 * Spec: formats 2.5.
 */
export function lz4Compress(source: Uint8Array, target: Uint8Array): number {
  if (source.length > 65_536 || kernelKind() === 'typescript') {
    return lz4Twin.lz4Compress(source, target);
  }
  assert(target.length >= lz4Twin.lz4Bound(source.length), 'LZ4 target holds the worst case');
  const kernel = sharedKernel();
  const block = kernel.base + SIDE;
  kernel.bytes.set(source, kernel.base);
  const size = kernel.lz4Compress(kernel.base, source.length, block);
  target.set(kernel.bytes.subarray(block, block + size));
  return size;
}

/**
 * Decompresses one LZ4 block. `target` must be exactly as long as the uncompressed data.
 *
 * @throws LitestreamError `ERR_LZ4` (details: field, offset in the block, expected, found) for anything malformed: a match
 * offset of 0 or before the start of the output, a length past the end of input or output, a block that does not end in
 * literals, or one whose result is shorter than `target`. `target` holds undefined bytes then.
 *
 * Spec: formats 2.5.
 */
export function lz4Decompress(source: Uint8Array, target: Uint8Array): void {
  if (source.length <= SIDE && target.length <= SIDE && kernelKind() !== 'typescript') {
    const kernel = sharedKernel();
    const output = kernel.base + SIDE;
    kernel.bytes.set(source, kernel.base);
    if (kernel.lz4Decompress(kernel.base, source.length, output, target.length)) {
      target.set(kernel.bytes.subarray(output, output + target.length));
      return;
    }
  }
  // Also after the kernel has refused a block: the twin says where and why.
  lz4Twin.lz4Decompress(source, target);
}
