import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { FaultyFileSystem } from '../testing/index.ts';
import { EarlySync } from './early-sync.ts';
import { nodeFileSystem } from './file-system.ts';

const MIB = 1024 * 1024;

test('a sync runs beside the writing, one at a time, and not for small files', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'early-sync-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const fs = new FaultyFileSystem(nodeFileSystem);
  const file = await fs.open('open', join(folder, 'x'), 'create');
  const early = new EarlySync(file, 'early');
  early.note(31 * MIB);
  assert.deepEqual(fs.calls, ['open']);
  early.note(MIB);
  early.note(40 * MIB);
  assert.deepEqual(fs.calls, ['open', 'early']);
  await early.settle();
  early.note(1);
  await early.settle();
  assert.deepEqual(fs.calls, ['open', 'early', 'early']);
  await file.close();
});

test('a failed sync fails the writing', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'early-sync-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const fs = new FaultyFileSystem(nodeFileSystem);
  const file = await fs.open('open', join(folder, 'x'), 'create');
  const early = new EarlySync(file, 'early');
  fs.fail('EIO', { label: 'early' });
  early.note(32 * MIB);
  await assert.rejects(early.settle(), { code: 'ERR_IO' });
  assert.throws(() => early.note(1), { code: 'ERR_IO' });
  await file.close();
});
