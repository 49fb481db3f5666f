import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nodeFileSystem } from './file-system.ts';

test(
  'a folder that exists and takes no others is an error, and not tried for ever',
  { skip: process.platform === 'linux' ? false : 'no /proc on this system' },
  async () => {
    await assert.rejects(nodeFileSystem.makeDirectory('test:mkdir', '/proc/none/replica/ltx'), {
      message: 'mkdir /proc/none: no such file or directory',
    });
  },
);
