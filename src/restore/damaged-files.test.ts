/** A restore that is asked to do without damaged files does, and never gives an older state for that. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { toTxid } from '../formats/ltx/index.ts';
import { present } from '../lib/assert.ts';
import { systemClock } from '../lib/clock.ts';
import { nodeFileSystem } from '../lib/file-system.ts';
import { MemoryClient } from '../testing/index.ts';
import { RecordingLogger } from '../../test/support/engine.ts';
import { restoreDatabase, type RestoreTarget } from './index.ts';
import { concat, mergeFiles, pagesOf, putFile, type TestFile } from './test-replica.ts';

const PAGE_SIZE = 512;
const COUNT = 12;
const PLANNING_AGAIN = 'a planned file is damaged, planning again';

const folder = mkdtempSync(join(tmpdir(), 'damaged-files-'));
after(() => rmSync(folder, { recursive: true }));
let outputs = 0;

const page = (fill: number): Uint8Array => new Uint8Array(PAGE_SIZE).fill(fill);

/** TXID n fills page n and page 1 with n, at n seconds. */
const level0: readonly TestFile[] = Array.from({ length: COUNT }, (_, at) => {
  const txid = at + 1;
  const pages = txid === 1 ? [page(1)] : [page(txid), page(txid)];
  const numbered = pagesOf(pages).map(({ data, pgno }) => ({ data, pgno: pgno === 1 ? 1 : txid }));
  return { level: 0, min: txid, max: txid, commit: txid, pages: numbered };
});

function stateAt(txid: number): Uint8Array {
  const image = Array.from({ length: txid }, (_, at) => page(at + 1));
  image[0] = page(txid);
  return concat(image);
}

/** Every even state twice at least: level 0, pairs in level 1, all in level 2, snapshots at 4 and 9. */
const levels: readonly TestFile[] = [
  ...[0, 2, 4, 6, 8, 10].map((at) => mergeFiles(level0.slice(at, at + 2), 1)),
  mergeFiles(level0.slice(0, 12), 2),
  mergeFiles(level0.slice(0, 4), 9),
  mergeFiles(level0.slice(0, 9), 9),
];

async function replicaOf(files: readonly TestFile[]): Promise<MemoryClient> {
  const client = new MemoryClient();
  for (const file of files) await putFile(client, file, PAGE_SIZE);
  return client;
}

type How = 'cut' | 'emptied' | 'flipped' | 'without magic';

function damage({ store }: MemoryClient, key: string, how: How): void {
  const object = present(store.get(key), key);
  const bytes = Uint8Array.from(object.bytes);
  const keep = {
    cut: bytes.length - 9,
    emptied: 0,
    flipped: bytes.length,
    'without magic': bytes.length,
  };
  const at = how === 'flipped' ? bytes.length - 1 : 0;
  if (how !== 'cut') bytes[at] = (bytes[at] ?? 0) ^ 1;
  store.set(key, { ...object, bytes: bytes.subarray(0, keep[how]) });
}

async function restored(
  client: MemoryClient,
  target: RestoreTarget = {},
  aroundDamage = true,
): Promise<{ bytes: Uint8Array; logger: RecordingLogger }> {
  const outputPath = join(folder, `${outputs++}.db`);
  const logger = new RecordingLogger();
  const ports = { fileSystem: nodeFileSystem, clock: systemClock, logger };
  try {
    await restoreDatabase({ client, outputPath, target, aroundDamage, ...ports });
  } catch (error) {
    assert.equal(existsSync(outputPath), false);
    assert.equal(existsSync(`${outputPath}.tmp`), false);
    throw error;
  }
  return { bytes: readFileSync(outputPath), logger };
}

const targets: readonly (readonly [string, RestoreTarget, number])[] = [
  ['the latest state', {}, COUNT],
  ['a TXID', { txid: toTxid(10) }, 10],
  ['a time', { timestampMs: 8500 }, 8],
];

for (const how of ['cut', 'emptied', 'flipped', 'without magic'] as const) {
  for (const [what, target, txid] of targets) {
    test(`RST-12 ${what} is restored around any file that is ${how}, with a warning`, async () => {
      const { store } = await replicaOf([...level0, ...levels]);
      let around = 0;
      for (const key of store.keys()) {
        const client = await replicaOf([...level0, ...levels]);
        damage(client, key, how);
        const { bytes, logger } = await restored(client, target);
        assert.deepEqual(bytes, Buffer.from(stateAt(txid)), key);
        const warnings = logger.messages('warn');
        assert.deepEqual(warnings, warnings.length === 0 ? [] : [PLANNING_AGAIN]);
        if (warnings.length === 0) continue;
        around += 1;
        const { error } = present(logger.records[0], 'warning').attributes;
        assert.ok(error instanceof Error);
        assert.match(error.message, /level=\d min=000000000000000\w max=000000000000000\w/);
      }
      assert.ok(around > 0);
    });
  }
}

test('RST-12 several damaged files are planned around, as long as something is left', async () => {
  const client = await replicaOf([...level0, ...levels]);
  for (const key of client.store.keys()) if (!key.startsWith('ltx/0/')) damage(client, key, 'cut');
  const { bytes, logger } = await restored(client);
  assert.deepEqual(bytes, Buffer.from(stateAt(COUNT)));
  assert.ok(logger.messages('warn').length > 1);
});

test('RST-12 an older state is no substitute: the damage is the error', async () => {
  const last = '000000000000000c-000000000000000c.ltx';
  for (const files of [level0, [...level0, ...levels.slice(-2)]]) {
    const client = await replicaOf(files);
    damage(client, `ltx/0/${last}`, 'flipped');
    await assert.rejects(restored(client), /level=0 min=000000000000000c/);
    await assert.rejects(restored(client, { timestampMs: 99_000 }), /level=0 min=000000000000000c/);
    const { bytes } = await restored(client, { txid: toTxid(11) });
    assert.deepEqual(bytes, Buffer.from(stateAt(11)));
  }
});

test('RST-12 a damaged file that nothing replaces is named, and nothing is left', async () => {
  const client = await replicaOf(level0);
  damage(client, 'ltx/0/0000000000000005-0000000000000005.ltx', 'emptied');
  await assert.rejects(
    restored(client),
    /^LitestreamError: invalid ltx file: level=0 min=0000000000000005 .* has size 0 bytes \(minimum 100\)$/,
  );
});

test('RST-12 without being asked to, a restore ends with the damage', async () => {
  const client = await replicaOf([...level0, ...levels]);
  for (const key of client.store.keys()) damage(client, key, 'flipped');
  await assert.rejects(restored(client, {}, false), { code: 'ERR_LTX_CORRUPTED' });
});
