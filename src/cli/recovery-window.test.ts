import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { encodeLtxFile, LTX_NO_CHECKSUM, toTxid } from '../formats/ltx/index.ts';
import { systemClock } from '../lib/clock.ts';
import { bytesSource, type FileInfo } from '../storage/index.ts';
import { MemoryClient } from '../testing/index.ts';
import { fetchText, recoveryText, recoveryWindow } from './recovery-window.ts';

const START = Date.UTC(2026, 2, 1, 8);

function file(level: number, from: number, to: number, seconds: number): FileInfo {
  const [minTxid, maxTxid] = [toTxid(BigInt(from)), toTxid(BigInt(to))];
  return { level, minTxid, maxTxid, size: 100, createdAt: START + seconds * 1000 };
}

/** A file of pages that do not compress. */
function snapshotOf(pages: number): Uint8Array {
  const header = {
    flags: LTX_NO_CHECKSUM,
    pageSize: 4096,
    commit: pages,
    minTxid: toTxid(1n),
    maxTxid: toTxid(2n),
    timestampMs: START,
    preApplyChecksum: 0n,
    walOffset: 0,
    walSize: 0,
    walSalt1: 0,
    walSalt2: 0,
    nodeId: 0n,
  };
  const page = (_: unknown, at: number): { pgno: number; data: Uint8Array } => ({
    pgno: at + 1,
    data: randomBytes(4096),
  });
  return encodeLtxFile({ header, pages: Array.from({ length: pages }, page) });
}

test('CFG-10: the recovery window begins with the first whole state, and tells the steps of each level', () => {
  const window = recoveryWindow([
    file(9, 1, 4, 3600),
    file(9, 1, 8, 7200),
    file(1, 3, 4, 3600),
    file(1, 5, 6, 3630),
    file(1, 7, 8, 3660),
    file(0, 9, 9, 7201),
    file(0, 10, 10, 7201),
  ]);
  assert.ok(window !== undefined);
  assert.equal(
    recoveryText(window),
    `restorable from 2026-03-01T09:00:00Z to 2026-03-01T10:00:01Z, last snapshot 2026-03-01T10:00:00Z
  level 0: 2 restore points since 2026-03-01T10:00:01Z, less than a second apart
  level 1: 3 restore points since 2026-03-01T09:00:00Z, about 30s apart
  snapshots: 2 restore points since 2026-03-01T09:00:00Z, about 1h0m0s apart
`,
  );
});

test('CFG-10: a replica without the beginning of a history has no recovery window', () => {
  assert.equal(recoveryWindow([]), undefined);
  assert.equal(recoveryWindow([file(0, 2, 2, 0)]), undefined);
});

test('CFG-10: the time of a restore is measured where there is enough to measure', async () => {
  const client = new MemoryClient();
  const key = { level: 9, minTxid: toTxid(1n), maxTxid: toTxid(2n) };
  const written = await client.write(key, bytesSource(snapshotOf(400)));
  const text = await fetchText([written, file(0, 3, 3, 0)], client, systemClock);
  assert.match(text, /^to fetch: 2 files, 1\.\d MB, about \d+s at \d\S* .?B\/s\n$/);
  assert.equal(
    await fetchText([file(0, 3, 3, 0)], client, systemClock),
    'to fetch: 1 file, 100 B\n',
  );
  // What cannot be read is for the restore to say.
  const gone = { ...written, maxTxid: toTxid(9n) };
  assert.match(await fetchText([gone], client, systemClock), /^to fetch: 1 file, 1\.\d MB\n$/);
});
