import { statfs } from 'node:fs/promises';

/** By the number that statfs gives on Linux. */
const NAMES: Readonly<Record<number, string>> = {
  0x6969: 'NFS',
  0x517b: 'SMB',
  0xff53_4d42: 'CIFS',
  0xfe53_4d42: 'SMB2',
  0x0102_1997: '9p',
  0x6573_5546: 'FUSE',
};

/** The name of a file system on which SQLite's locks or shared memory cannot be relied on; undefined for others. Pure. */
export function networkFileSystemName(type: number): string | undefined {
  // Some builds give the number with a sign.
  return NAMES[type >>> 0];
}

/** The same of a path that exists. @throws the system's error */
export async function findNetworkFileSystem(path: string): Promise<string | undefined> {
  return networkFileSystemName((await statfs(path)).type);
}
