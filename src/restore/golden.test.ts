import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { cpSync, mkdtempSync, readFileSync, rmSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { parseTxid } from '../formats/ltx/index.ts';
import { systemClock } from '../lib/clock.ts';
import { nodeFileSystem } from '../lib/file-system.ts';
import { openFileReplica, type ReplicaClient } from '../storage/index.ts';
import { type Logger, noopLogger } from '../telemetry/index.ts';
import { ReplicaCatalog, type RestoreTarget, restoreDatabase, timeBounds } from './index.ts';
import { checkedLogger } from '../../test/support/guarded.ts';

interface Expected {
  readonly sha256: string;
  readonly size: number;
}

interface Golden {
  readonly latest: Expected;
  readonly txids: Readonly<Record<string, Expected>>;
  readonly unavailable_txids: readonly string[];
  readonly timestamps: Readonly<Record<string, Expected | { readonly error: string }>>;
  readonly mtimes_ms: Readonly<Record<string, number>>;
}

const VECTORS = join(import.meta.dirname, '../../test/vectors/replicas');
const manifest = JSON.parse(readFileSync(join(VECTORS, 'manifest.json'), 'utf8')) as Record<
  string,
  Golden
>;
const folder = mkdtempSync(join(tmpdir(), 'golden-'));
after(() => rmSync(folder, { recursive: true }));

/** A copy with the file times that the replica was written with. */
async function open(name: string, golden: Golden): Promise<ReplicaClient> {
  const path = join(folder, name);
  cpSync(join(VECTORS, name), path, { recursive: true });
  for (const [file, ms] of Object.entries(golden.mtimes_ms))
    utimesSync(join(path, file), ms / 1000, ms / 1000);
  return await openFileReplica(path, { fileSystem: nodeFileSystem, clock: systemClock });
}

/** Some of the items, the first and the last among them; all of them with SLOW=1. */
function spread<T>(items: readonly T[]): readonly T[] {
  const step = process.env['SLOW'] === '1' ? 1 : Math.ceil(items.length / 24);
  return items.filter((_, n) => n % step === 0 || n === items.length - 1);
}

const WARNING = 'warn restored from a snapshot of an old release, which may hold later changes';

/** Keeps the lines of warnings and errors. */
function recorder(): { logger: Logger; lines: string[] } {
  const lines: string[] = [];
  const logger = checkedLogger((level, message) => {
    if (level === 'warn' || level === 'error') lines.push(`${level} ${message}`);
  });
  return { logger, lines };
}

async function restore(
  client: ReplicaClient,
  target: RestoreTarget,
  logger: Logger = noopLogger,
): Promise<Expected> {
  const outputPath = join(folder, 'out.db');
  await restoreDatabase({
    client,
    outputPath,
    target,
    force: true,
    fileSystem: nodeFileSystem,
    clock: systemClock,
    logger,
  });
  const bytes = readFileSync(outputPath);
  return { sha256: createHash('sha256').update(bytes).digest('hex'), size: bytes.length };
}

for (const [name, golden] of Object.entries(manifest)) {
  test(`RST-24 I1 restores ${name} bit for bit, latest and every TXID`, async () => {
    const client = await open(name, golden);
    assert.deepEqual(await restore(client, {}), golden.latest);
    for (const [text, expected] of Object.entries(golden.txids)) {
      assert.deepEqual(await restore(client, { txid: parseTxid(text) }), expected, text);
    }
    for (const text of golden.unavailable_txids) {
      await assert.rejects(
        restore(client, { txid: parseTxid(text) }),
        { code: 'ERR_TX_NOT_AVAILABLE' },
        text,
      );
    }
  });

  test(`restores ${name} at points in time`, async () => {
    const client = await open(name, golden);
    const { oldestMs = 0, newestMs = 0 } =
      (await timeBounds(new ReplicaCatalog(client, { timed: true }))) ?? {};
    for (const [text, expected] of spread(Object.entries(golden.timestamps))) {
      const timestampMs = Date.parse(text);
      if (!('error' in expected)) {
        assert.deepEqual(await restore(client, { timestampMs }), expected, text);
      } else if (expected.error.endsWith('timestamp does not exist')) {
        assert.ok(timestampMs < oldestMs || timestampMs > newestMs, text);
      } else {
        await assert.rejects(
          restore(client, { timestampMs }),
          { code: 'ERR_TX_NOT_AVAILABLE' },
          text,
        );
      }
    }
  });
}

test('RST-22 a state behind a snapshot of an old release is restored with a warning, the latest without', async () => {
  const cases = [
    ['v0.5.5-p4096-levels', true],
    ['v0.5.17-p4096-l0-deleted', false],
  ] as const;
  for (const [name, old] of cases) {
    const golden = manifest[name] ?? assert.fail(name);
    const client = await open(name, golden);
    const snapshots: bigint[] = [];
    for await (const { maxTxid } of client.list(9)) snapshots.push(maxTxid);
    const [first = 0n] = snapshots;
    const txids = Object.keys(golden.txids).map((text) => parseTxid(text));
    const [newest] = txids.slice(-1);
    let warned = 0;
    for (const txid of spread(txids)) {
      const { logger, lines } = recorder();
      await restore(client, { txid }, logger);
      const expected = old && txid >= first && txid !== newest ? [WARNING] : [];
      assert.deepEqual(lines, expected, `${name}, TXID ${txid}`);
      warned += lines.length;
    }
    assert.equal(warned > 0, old, name);
    const { logger, lines } = recorder();
    await restore(client, {}, logger);
    assert.deepEqual(lines, [], name);
  }
});
