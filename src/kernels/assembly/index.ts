// The kernel module: everything that touches page bytes. Addresses are byte offsets in the one memory; see ../layout.ts.

import {
  DECODE_BAD_BLOCK,
  DECODE_BAD_HEADER,
  DECODE_BAD_SIZE,
  DECODE_END,
  DECODE_FULL,
  DECODE_INCOMPLETE,
  DECODE_LEGACY,
  RESULTS,
} from "../layout";
import { crcAppend, crcUpdate, frameSum } from "./crc64";
import { lz4Compress, lz4Decompress } from "./lz4";

export { checksumPages, crcAppend, crcCombine, crcReset, crcState, crcUpdate, setUp } from "./crc64";
export { lz4Compress, lz4Decompress } from "./lz4";

// @ts-ignore: decorator
@inline
function bound(size: u32): u32 {
  return size + size / 255 + 16;
}

/**
 * Frames pages from a list of (pgno, address) pairs until the list ends or the output might overflow. Results: pages
 * framed, bytes written. `sizes` receives the size of each frame; `stream` −1 hashes nothing.
 */
export function encodePages(
  list: usize,
  count: u32,
  pageSize: u32,
  target: usize,
  targetEnd: usize,
  sizes: usize,
  stream: i32,
): void {
  let to = target;
  let index: u32 = 0;
  const worst = <usize>(10 + bound(pageSize));
  while (index < count && worst <= targetEnd - to) {
    const page = <usize>load<u32>(list, 4);
    const size = <u32>lz4Compress(page, pageSize, to + 10);
    store<u32>(to, bswap(load<u32>(list)));
    store<u16>(to, 0x0100, 4);
    store<u32>(to, bswap(size), 6);
    if (stream >= 0) {
      crcUpdate(stream, to, 10);
      crcUpdate(stream, page, pageSize);
    }
    store<u32>(sizes, size + 10);
    to += size + 10;
    list += 8;
    sizes += 4;
    index++;
  }
  store<u32>(RESULTS, index);
  store<u32>(RESULTS, <u32>(to - target), 4);
}

/**
 * Decodes frames until the input, the frames that fit, or the page block ends. Page i goes to `target + i·stride`, its frame's
 * register to `sums + 8·i` unless `sums` is negative. Results: frames decoded, bytes consumed, bytes the next frame needs. Returns a DECODE_ status.
 */
export function decodeFrames(
  source: usize,
  sourceEnd: usize,
  pageSize: u32,
  target: usize,
  stride: u32,
  capacity: u32,
  meta: usize,
  stream: i32,
  sums: i32,
): u32 {
  let at = source;
  let frames: u32 = 0;
  let needed: usize = 6;
  let status: u32 = DECODE_FULL;
  const largest = bound(pageSize);
  while (frames < capacity) {
    needed = 6;
    status = DECODE_INCOMPLETE;
    if (sourceEnd - at < 6) break;
    const pgno = bswap(load<u32>(at));
    const flags = <u32>bswap(load<u16>(at, 4));
    if (flags != 1) {
      if (flags != 0) {
        status = DECODE_BAD_HEADER;
      } else if (pgno != 0) {
        status = DECODE_LEGACY;
      } else {
        status = DECODE_END;
        if (stream >= 0) crcUpdate(stream, at, 6);
        at += 6;
      }
      break;
    }
    if (pgno == 0) {
      status = DECODE_BAD_HEADER;
      break;
    }
    needed = 10;
    if (sourceEnd - at < 10) break;
    const size = bswap(load<u32>(at, 6));
    if (size == 0 || size > largest) {
      status = DECODE_BAD_SIZE;
      break;
    }
    needed = 10 + size;
    if (sourceEnd - at < needed) break;
    if (!lz4Decompress(at + 10, size, target, pageSize)) {
      status = DECODE_BAD_BLOCK;
      break;
    }
    if (sums >= 0) {
      store<u64>(sums, frameSum(at, target, pageSize));
      if (stream >= 0) crcAppend(stream, sums, 10 + pageSize);
      sums += 8;
    } else if (stream >= 0) {
      crcUpdate(stream, at, 10);
      crcUpdate(stream, target, pageSize);
    }
    store<u32>(meta, pgno);
    store<u32>(meta, <u32>(at - source), 4);
    store<u32>(meta, <u32>needed, 8);
    store<u32>(meta, <u32>target, 12);
    meta += 16;
    target += stride;
    at += needed;
    frames++;
    status = DECODE_FULL;
  }
  store<u32>(RESULTS, frames);
  store<u32>(RESULTS, <u32>(at - source), 4);
  store<u32>(RESULTS, <u32>needed, 8);
  return status;
}

/** SQLite's WAL checksum over big-endian words; the state goes in and out through the results. */
export function walBigEndian(at: usize, length: usize): void {
  let s0 = load<u32>(RESULTS);
  let s1 = load<u32>(RESULTS, 4);
  for (const end = at + length; at < end; at += 8) {
    s0 += bswap(load<u32>(at)) + s1;
    s1 += bswap(load<u32>(at, 4)) + s0;
  }
  store<u32>(RESULTS, s0);
  store<u32>(RESULTS, s1, 4);
}
