import type { FileSystem } from '../../../lib/file-system.ts';

const SIZE_MAX = 1024 * 1024;

/** A small text file. */
export async function readWhole(fileSystem: FileSystem, path: string): Promise<string> {
  const file = await fileSystem.open('gs:open-credentials', path, 'read');
  try {
    const { size } = await file.stat('gs:stat-credentials');
    const bytes = new Uint8Array(Math.min(size, SIZE_MAX));
    const count = await file.read('gs:read-credentials', bytes, 0);
    return Buffer.from(bytes.subarray(0, count)).toString('utf8');
  } finally {
    await file.close();
  }
}
