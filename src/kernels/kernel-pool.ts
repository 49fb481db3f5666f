import { createKernel } from './create-kernel.ts';
import type { Kernel } from './kernel.ts';

/**
 * Kernels that are kept for the next user of the same size. Creating one costs about a tenth of a millisecond and fresh
 * memory; a database that publishes a file per commit should pay that once.
 */
const idle: Kernel[] = [];

/** More are needed only while several files are written at once; the one that was not used longest is left to the garbage collector. */
const KEPT = 2;

/** A kernel with at least `arenaBytes` of memory and CRC stream 0, from the pool or new. Contents are undefined. */
export function takeKernel(arenaBytes: number): Kernel {
  const at = idle.findIndex((kernel) => kernel.bytes.length >= arenaBytes);
  const found = at < 0 ? undefined : idle.splice(at, 1)[0];
  return found ?? createKernel({ arenaBytes });
}

/** Gives a kernel back; the caller must not use it any more. */
export function giveKernel(kernel: Kernel): void {
  if (idle.includes(kernel)) return;
  idle.push(kernel);
  if (idle.length > KEPT) idle.shift();
}
