import assert from 'node:assert/strict';
import { tmpdir } from 'node:os';
import { test } from 'node:test';
import { findNetworkFileSystem, networkFileSystemName } from './network-file-system.ts';

test('OPS-15 file systems of a network are known by their number, with or without a sign', () => {
  for (const [type, name] of [
    [0x6969, 'NFS'],
    [0x517b, 'SMB'],
    [0xff534d42, 'CIFS'],
    [0xff534d42 | 0, 'CIFS'],
    [0xfe534d42 | 0, 'SMB2'],
    [0x01021997, '9p'],
    [0x65735546, 'FUSE'],
    [0xef53, undefined],
    [0x9123683e | 0, undefined],
    [0x01021994, undefined],
    [0x58465342, undefined],
  ] as const) {
    assert.equal(networkFileSystemName(type), name, type.toString(16));
  }
});

test('OPS-15 a path is looked up, a missing one is an error', async () => {
  await findNetworkFileSystem(tmpdir());
  await assert.rejects(findNetworkFileSystem('/no/such/folder'), { code: 'ENOENT' });
});
