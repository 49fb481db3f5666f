import assert from 'node:assert/strict';
import { bytesSource, type WriteSource } from '../../storage/index.ts';
import { fileKey, listAll, ltxLike } from '../ltx-like.ts';
import { check, type Suite } from './contract.ts';
import { assertNothingStored } from './writing.ts';

const ABORTED = { code: 'ERR_ABORTED' };

async function drain(iterable: AsyncIterable<unknown>): Promise<void> {
  for await (const item of iterable) assert.ok(item !== undefined);
}

/** Yields its first bytes, says so, and then nothing for ever. */
export function silentSource(bytes: Uint8Array, onSilence: () => void): WriteSource {
  return {
    size: bytes.length + 1000,
    async *stream() {
      await Promise.resolve();
      yield bytes;
      onSilence();
      await new Promise<never>(() => {
        // Never settles.
      });
    },
  };
}

export function abortTests(suite: Suite): void {
  check(suite, 'does nothing if the signal has fired before', async ({ client }) => {
    const key = fileKey(0, 1);
    await client.write(key, bytesSource(ltxLike(100)));
    const options = { signal: AbortSignal.abort() };
    await assert.rejects(client.init(options), ABORTED);
    await assert.rejects(drain(client.list(0, options)), ABORTED);
    await assert.rejects(drain(client.read(key, options)), ABORTED);
    await assert.rejects(client.write(fileKey(0, 2), bytesSource(ltxLike(100)), options), ABORTED);
    await assert.rejects(client.delete([key], options), ABORTED);
    await assert.rejects(client.deleteAll(options), ABORTED);
    assert.equal((await listAll(client, 0)).length, 1);
  });

  check(suite, 'gives up a write whose source has gone silent', async (bench) => {
    for (const size of [50, 100, 300_000]) {
      const controller = new AbortController();
      const source = silentSource(ltxLike(size), () => controller.abort());
      const write = bench.client.write(fileKey(0, 1), source, { signal: controller.signal });
      await assert.rejects(write, ABORTED);
      await assertNothingStored(bench);
    }
  });

  check(suite, 'stops reading when the signal fires', async ({ client }) => {
    const key = fileKey(0, 1);
    await client.write(key, bytesSource(ltxLike(4_000_000)));
    const controller = new AbortController();
    let bytes = 0;
    const reading = async (): Promise<void> => {
      for await (const chunk of client.read(key, { signal: controller.signal })) {
        bytes += chunk.length;
        controller.abort();
      }
    };
    await assert.rejects(reading(), ABORTED);
    assert.ok(bytes > 0 && bytes < 4_000_000, `${bytes} bytes before the end`);
  });

  check(suite, 'stops listing when the signal fires', async ({ client }) => {
    for (let txid = 1; txid <= 50; txid++) {
      await client.write(fileKey(0, txid), bytesSource(ltxLike(100)));
    }
    const controller = new AbortController();
    const listing = async (): Promise<void> => {
      for await (const file of client.list(0, { signal: controller.signal })) {
        assert.equal(file.minTxid, 1n);
        controller.abort();
      }
    };
    await assert.rejects(listing(), ABORTED);
  });
}
