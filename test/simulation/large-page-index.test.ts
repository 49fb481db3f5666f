/** Page indexes with more entries than a JavaScript `Map` can hold. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  CHECKSUM_FLAG,
  decodePageIndex,
  encodePageIndex,
  encodeTrailer,
  FrameTable,
  LTX_NO_CHECKSUM,
  PageIndex,
  toTxid,
  writePageIndex,
  type FrameList,
} from '../../src/formats/ltx/index.ts';
import { TailReader } from '../../src/formats/ltx/tail.ts';
import { Crc64 } from '../../src/kernels/index.ts';

const COUNT = 2 ** 24 + 5;
const FRAME = 4096 + 26;
const END = 100 + COUNT * FRAME;
const PROBES = [0, 1, 2 ** 20 + 3, 2 ** 24 - 1, 2 ** 24, COUNT - 1];

describe('page index of more than 2^24 pages, above 4 GiB', () => {
  test('is encoded and decoded', () => {
    const frames: FrameList = { length: COUNT, pgnoAt: (at) => 2 * at + 1, sizeAt: () => FRAME };
    const index = decodePageIndex(encodePageIndex(frames), END + 6);
    assert.equal(index.length, COUNT);
    assert.equal(index.offsetAt(COUNT), END);
    for (const at of PROBES) {
      assert.equal(index.find(2 * at + 1), at);
      assert.equal(index.find(2 * at + 2), -1);
      assert.equal(index.offsetAt(at), 100 + at * FRAME);
      assert.equal(index.sizeAt(at), FRAME);
    }
  });

  test('is compared with the frames while it streams by', () => {
    const frames = new FrameTable();
    for (let at = 0; at < COUNT; at++) frames.push(2 * at + 1, FRAME);
    const tail = new TailReader({
      header: {
        flags: LTX_NO_CHECKSUM,
        pageSize: 4096,
        commit: 2 * COUNT,
        minTxid: toTxid(2),
        maxTxid: toTxid(2),
        timestampMs: 0,
        preApplyChecksum: 0n,
        walOffset: 0,
        walSize: 0,
        walSalt1: 0,
        walSalt2: 0,
        nodeId: 0n,
      },
      frames,
      crc: new Crc64(),
      offset: END + 6,
      rolling: undefined,
      problem: undefined,
    });
    const crc = new Crc64();
    writePageIndex(frames, (piece) => {
      crc.update(piece);
      tail.push(piece);
    });
    const fileChecksum = CHECKSUM_FLAG | crc.update(new Uint8Array(8)).digest();
    tail.push(encodeTrailer({ postApplyChecksum: 0n, fileChecksum }));
    assert.deepEqual(tail.end(), { postApplyChecksum: 0n, fileChecksum });
    const index = PageIndex.fromFrames(frames);
    for (const at of PROBES) assert.equal(index.offsetAt(at), 100 + at * FRAME);
  });
});
