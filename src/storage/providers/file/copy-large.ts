import { throwIfAborted } from '../../../lib/clock.ts';
import { alignedBytes } from '../../../lib/direct-file.ts';
import { EarlySync } from '../../../lib/early-sync.ts';
import type { OpenFile } from '../../../lib/file-system.ts';
import { onDisk } from './errors.ts';

const PIECE_BYTES = 1 << 20;

/**
 * Copies a whole file through two buffers: one is read while the other is written. Unlike a copy in the kernel this can be stopped
 * half way, and the copy does not fill the page cache: the disk works from the start. Nothing is allocated per piece.
 */
export async function copyLarge(
  from: OpenFile,
  to: OpenFile,
  signal: AbortSignal | undefined,
): Promise<void> {
  const early = new EarlySync(to, 'file:sync-early');
  let [reading, writing] = [alignedBytes(PIECE_BYTES), alignedBytes(PIECE_BYTES)];
  const put = async (bytes: Uint8Array, position: number): Promise<void> => {
    await onDisk(to.write('file:write', bytes, position, 'direct'));
    await onDisk(Promise.resolve().then(() => early.note(bytes.length)));
  };
  let written: Promise<void> = Promise.resolve();
  try {
    for (let position = 0; ;) {
      throwIfAborted(signal);
      // Both end before either fails: nobody else may use the buffers meanwhile.
      const [read, wrote] = await Promise.allSettled([
        from.read('file:read-source', reading, position),
        written,
      ]);
      if (wrote.status === 'rejected') throw wrote.reason;
      if (read.status === 'rejected') throw read.reason;
      if (read.value === 0) break;
      [reading, writing] = [writing, reading];
      written = put(writing.subarray(0, read.value), position);
      position += read.value;
    }
  } finally {
    await Promise.allSettled([written]);
    await onDisk(early.settle());
  }
}
