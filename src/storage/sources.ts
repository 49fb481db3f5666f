import type { FileSystem } from '../lib/file-system.ts';
import type { WriteSource } from './contract.ts';

const CHUNK_SIZE = 512 * 1024;

/** Bytes in memory. They must not change during the write. */
export function bytesSource(bytes: Uint8Array): WriteSource {
  return {
    size: bytes.length,
    async *stream() {
      await Promise.resolve();
      for (let at = 0; at < bytes.length; at += CHUNK_SIZE)
        yield bytes.subarray(at, at + CHUNK_SIZE);
    },
  };
}

/** A local file of known size that does not change during the write. A file that is shorter ends the stream early. */
export function fileSource(fileSystem: FileSystem, path: string, size: number): WriteSource {
  return {
    size,
    path,
    async *stream() {
      const file = await fileSystem.open('source:open', path, 'read');
      try {
        for (let at = 0; at < size;) {
          const chunk = new Uint8Array(Math.min(CHUNK_SIZE, size - at));
          const count = await file.read('source:read', chunk, at);
          if (count === 0) return;
          at += count;
          yield chunk.subarray(0, count);
        }
      } finally {
        await file.close();
      }
    },
  };
}
