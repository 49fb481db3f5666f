import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { formatFileName, toTxid } from '../formats/ltx/index.ts';
import { LitestreamError } from '../lib/errors.ts';
import { ltxLike } from '../testing/index.ts';
import type { Logger } from '../telemetry/index.ts';
import type { ReplicaClient } from './contract.ts';
import { firstKey, HeaderTimes, listedFiles } from './object-listing.ts';
import { checkedLogger } from '../../test/support/guarded.ts';

const PREFIX = 'p/ltx/0/';

function named(name: string): { key: string; size: number } {
  return { key: PREFIX + name, size: 100 };
}

function file(txid: number): { key: string; size: number } {
  return named(formatFileName(toTxid(txid), toTxid(txid)));
}

async function* pagesOf<T>(pages: readonly T[]): AsyncGenerator<T, void, undefined> {
  for (const page of pages) {
    await Promise.resolve();
    yield page;
  }
}

async function txidsOf(
  pages: readonly (readonly { key: string; size: number }[])[],
  seek?: number,
): Promise<bigint[]> {
  const txids: bigint[] = [];
  const listing = listedFiles(pagesOf(pages), {
    level: 0,
    prefix: PREFIX,
    what: 'list',
    time: () => 0,
    ...(seek !== undefined && { seek: toTxid(seek) }),
  });
  for await (const { minTxid } of listing) txids.push(minTxid);
  return txids;
}

describe('files in the listing of a bucket', () => {
  it('are sorted within a page and taken from every page, foreign names left out (BKD-10)', async () => {
    const foreign = [
      '0000000000000002-0000000000000002.ltx.tmp',
      '000000000000000A-000000000000000A.ltx',
      'sub/0000000000000001-0000000000000001.ltx',
      '0000000000000003-0000000000000003',
    ].map(named);
    const pages = [[file(3), file(1), file(2)], [], [file(5), file(4)]];
    assert.deepEqual(await txidsOf(pages), [1n, 2n, 3n, 4n, 5n]);
    assert.deepEqual(await txidsOf([[...foreign, file(7)]]), [7n]);
    assert.deepEqual(await txidsOf([]), []);
  });

  it('begin at seek, also where the server has not listened', async () => {
    const pages = [[file(1), file(2)], [file(3), file(4)], [file(5)]];
    assert.deepEqual(await txidsOf(pages, 3), [3n, 4n, 5n]);
    assert.deepEqual(await txidsOf(pages, 6), []);
    assert.equal(firstKey(PREFIX, toTxid(0x1f)), `${PREFIX}000000000000001f`);
    assert.equal(firstKey(PREFIX, undefined), '');
  });

  it('that come in the wrong order from page to page are an error (BKD-10)', async () => {
    await assert.rejects(txidsOf([[file(3)], [file(1)]]), {
      code: 'ERR_STORAGE',
      message: 'list: names are not in order',
    });
  });
});

describe('times of files without metadata', () => {
  const key = { level: 0, minTxid: toTxid(1), maxTxid: toTxid(1), size: 100 };

  function readerOf(bytes: Uint8Array | Error): Pick<ReplicaClient, 'read'> {
    return {
      async *read() {
        await Promise.resolve();
        if (bytes instanceof Error) throw bytes;
        yield bytes;
      },
    };
  }

  function recording(lines: string[]): Logger {
    return checkedLogger((level, message) => {
      lines.push(`${level} ${message}`);
    });
  }

  it('come from the header, which is said once (BKD-09)', async () => {
    const lines: string[] = [];
    const times = new HeaderTimes(readerOf(ltxLike(100, 1_700_000_000_123)), recording(lines));
    assert.equal(await times.of(key, 5), 1_700_000_000_123);
    assert.equal(await times.of(key, 5), 1_700_000_000_123);
    assert.deepEqual(lines, ['warn object has no timestamp, reading it from the ltx header']);
  });

  it('are the time of storage for what is no LTX file or has gone', async () => {
    const gone = new LitestreamError('ERR_STORAGE_NOT_FOUND', 'gone');
    assert.equal(await new HeaderTimes(readerOf(gone), recording([])).of(key, 5), 5);
    const foreign = readerOf(new Uint8Array(100));
    assert.equal(await new HeaderTimes(foreign, recording([])).of(key, 5), 5);
    const short = new HeaderTimes(readerOf(new Error('not asked')), recording([]));
    assert.equal(await short.of({ ...key, size: 99 }, 5), 5);
  });

  it('are an error if the header cannot be read', async () => {
    const denied = new LitestreamError('ERR_STORAGE_DENIED', 'no');
    const times = new HeaderTimes(readerOf(denied), recording([]));
    await assert.rejects(times.of(key, 5), { code: 'ERR_STORAGE_DENIED' });
  });
});
