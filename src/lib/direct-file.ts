import { closeSync, constants, openSync } from 'node:fs';
import { platform } from 'node:os';

/** What the address, position and length of a direct write must be multiples of: the largest block of any disk. Spec: performance 8. */
export const DIRECT_ALIGNMENT = 4096;
/** Below, a copy into the page cache is cheaper than waiting for the disk. */
export const DIRECT_BYTES_MIN: number = 64 * 1024;

const WASM_PAGE = 65536;

/**
 * A second descriptor of an open file that writes past the page cache, −1 where there is no such thing. What has to reach the disk
 * anyway and is not read again soon costs less so: the copy in the page cache takes more processor time than its making, and its
 * memory is taken from other programs.
 */
export function openDirect(descriptor: number): number {
  // Only Linux has both.
  if (platform() !== 'linux') return -1;
  try {
    return openSync(`/proc/self/fd/${descriptor}`, constants.O_WRONLY | constants.O_DIRECT);
  } catch {
    return -1;
  }
}

export function closeDirect(descriptor: number): void {
  if (descriptor >= 0) closeSync(descriptor);
}

/** Memory at an address that direct writes take, where that can be had. */
export function alignedBytes(size: number): Uint8Array<ArrayBuffer> {
  const pages = Math.ceil(size / WASM_PAGE);
  try {
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    return new Uint8Array(memory.buffer, 0, size);
  } catch {
    // Engines can be told to do without.
    return new Uint8Array(size);
  }
}
