/** A restore from a store that stops to send and keeps the connection. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  encodeLtxFile,
  formatFileName,
  LTX_NO_CHECKSUM,
  toTxid,
} from '../../src/formats/ltx/index.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { nodeFileSystem } from '../../src/lib/file-system.ts';
import { restoreDatabase } from '../../src/restore/index.ts';
import { HttpClient } from '../../src/storage/http/index.ts';
import { resumableReads } from '../../src/storage/index.ts';
import { createS3Client } from '../../src/storage/providers/s3/index.ts';
import { noopLogger } from '../../src/telemetry/index.ts';
import { s3Bench } from '../support/fake-s3/index.ts';
import { s3Location } from '../support/fake-s3/s3-location.ts';
import { FaultProxy, first } from '../support/servers/fault-proxy.ts';
import { tempDir } from '../support/temp-dir.ts';

const PAGE_SIZE = 65_536;
const PAGES = 40;
const IDLE_MS = 300;

test('RST-01 a restore goes on where a silent store stopped, wherever that was', async (t) => {
  const { fake } = await s3Bench(t);
  const image = Array.from({ length: PAGES }, () => randomBytes(PAGE_SIZE));
  const [one, last] = [toTxid(1), toTxid(9)];
  const file = encodeLtxFile({
    header: {
      flags: LTX_NO_CHECKSUM,
      pageSize: PAGE_SIZE,
      commit: PAGES,
      minTxid: one,
      maxTxid: last,
      timestampMs: 1_700_000_000_000,
      preApplyChecksum: 0n,
      walOffset: 0,
      walSize: 0,
      walSalt1: 0,
      walSalt2: 0,
      nodeId: 0n,
    },
    pages: image.map((data, at) => ({ pgno: at + 1, data })),
  });
  fake.put(`p/0009/${formatFileName(one, last)}`, file);
  const proxy = await FaultProxy.start(t, fake.port);
  const { accessKeyId, secretAccessKey } = fake.rules.secrets;
  const http = new HttpClient({ clock: systemClock, idleTimeoutMs: IDLE_MS });
  t.after(() => http.close());
  const ports = { clock: systemClock, fileSystem: nodeFileSystem, logger: noopLogger };
  const settings = { endpoint: proxy.url, forcePathStyle: true, accessKeyId, secretAccessKey };
  const store = createS3Client(s3Location(settings), { ...ports, random: () => 0.5, http });
  t.after(() => store.close());
  const client = resumableReads(store, ports);
  const isRead = ({ method, target }: { method: string; target: string }): boolean =>
    method === 'GET' && target.includes('.ltx');
  for (const bytes of [0, 1, 99, 70_000, 1_000_000, file.length - 5]) {
    proxy.exchanges.length = 0;
    proxy.fault = first(1, { kind: 'silence', bytes }, isRead);
    const outputPath = join(tempDir(t), 'out.db');
    await restoreDatabase({ client, outputPath, target: {}, ...ports });
    assert.ok(readFileSync(outputPath).equals(Buffer.concat(image)), `silent after ${bytes} bytes`);
    const [, again] = proxy.exchanges.filter(isRead);
    const [, from = '0'] = /bytes=(\d+)-/.exec(again?.headers['range'] ?? '') ?? [];
    const total = bytes + file.length - Number(from);
    assert.ok(total <= 1.2 * file.length, `${total} of ${file.length} bytes, again from ${from}`);
  }
});
