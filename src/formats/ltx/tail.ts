import type { Crc64 } from '../../kernels/index.ts';
import type { LitestreamError } from '../../lib/errors.ts';
import { formatChecksum } from './checksum.ts';
import { damaged } from './damage.ts';
import type { FrameTable } from './frame-table.ts';
import { CHECKSUM_FLAG, LTX_HEADER_SIZE, LTX_TRAILER_SIZE, type LtxHeader } from './header.ts';
import { readU64 } from './page-header.ts';
import { INDEX_SIZE_SIZE } from './page-index.ts';
import { decodeTrailer, validateTrailer, type LtxTrailer } from './trailer.ts';
import { readUvarint, UvarintReader, type Cursor } from './varint.ts';

const FIELDS = ['pgno', 'offset', 'size'] as const;
const CHECKSUM_SIZE = 8;
const FIXED_SIZE = INDEX_SIZE_SIZE + LTX_TRAILER_SIZE;
const PREFIX = 'close reader: ';

/** What the reader of pages hands over at the end marker. */
export interface TailStart {
  readonly header: LtxHeader;
  readonly frames: FrameTable;
  /** State after the end marker. */
  readonly crc: Crc64;
  /** Bytes of the file so far. */
  readonly offset: number;
  /** Rolling checksum of the pages, where the file is a snapshot that tracks checksums. */
  readonly rolling: bigint | undefined;
  /** What is wrong with the pages as a whole. Reported if the file checksum is right. */
  readonly problem: LitestreamError | undefined;
}

/**
 * Reads what follows the end marker: page index, index size, trailer. Constant memory.
 *
 * The index must be exactly what a writer derives from the frames. Where it is not, the rest is only hashed, and the
 * file checksum decides which error is reported: `file checksum mismatch` for damage, the disagreement for a file that
 * was made so. Spec: formats 2.8, 2.9, 2.17.
 */
export class TailReader {
  readonly #start: TailStart;
  readonly #varint = new UvarintReader();
  readonly #cursor: Cursor = { at: 0 };
  /** Index size and trailer. */
  readonly #fixed = new Uint8Array(FIXED_SIZE);
  /** While draining: the last bytes, which are not hashed because they may be the file checksum. */
  readonly #held = new Uint8Array(CHECKSUM_SIZE);
  #state: 'index' | 'fixed' | 'drain' = 'index';
  #problem: LitestreamError | undefined;
  #entry = 0;
  #field = 0;
  #frameOffset = LTX_HEADER_SIZE;
  #indexSize = 0;
  #fixedLength = 0;
  #heldLength = 0;
  #total = 0;

  constructor(start: TailStart) {
    this.#start = start;
    this.#problem = start.problem;
  }

  /** Bytes behind the end marker so far. */
  get total(): number {
    return this.#total;
  }

  push(chunk: Uint8Array): void {
    let at = 0;
    if (this.#state === 'index') at = this.#readIndex(chunk);
    if (this.#state === 'fixed' && at < chunk.length) at = this.#readFixed(chunk, at);
    if (this.#state === 'drain' && at < chunk.length) this.#drain(chunk.subarray(at));
    this.#total += chunk.length - Math.min(at, chunk.length);
  }

  /**
   * The file ends here.
   *
   * @throws LitestreamError `ERR_LTX_CORRUPTED`
   */
  end(): LtxTrailer {
    this.#checkTruncation();
    const { crc, header, rolling } = this.#start;
    const drained = this.#state === 'drain';
    if (!drained) crc.update(this.#fixed.subarray(0, INDEX_SIZE_SIZE + CHECKSUM_SIZE));
    const stored = drained
      ? readU64(this.#held, 0)
      : readU64(this.#fixed, INDEX_SIZE_SIZE + CHECKSUM_SIZE);
    const computed = CHECKSUM_FLAG | crc.digest();
    const end = this.#start.offset + this.#total;
    if (stored !== computed) {
      const why =
        this.#problem === undefined ? '' : `; ${this.#problem.message.slice(PREFIX.length)}`;
      throw damaged(`${PREFIX}file checksum mismatch${why}`, {
        field: 'file checksum',
        offset: end - CHECKSUM_SIZE,
        expected: formatChecksum(computed),
        found: formatChecksum(stored),
      });
    }
    if (this.#problem !== undefined) throw this.#problem;
    const trailer = decodeTrailer(this.#fixed.subarray(INDEX_SIZE_SIZE));
    validateTrailer(header, trailer, end - LTX_TRAILER_SIZE, 'ERR_LTX_CORRUPTED');
    if (rolling !== undefined && rolling !== trailer.postApplyChecksum) {
      const expected = formatChecksum(rolling);
      const found = formatChecksum(trailer.postApplyChecksum);
      const text = `post-apply checksum in trailer (${found}) does not match calculated checksum (${expected})`;
      const offset = end - LTX_TRAILER_SIZE;
      throw damaged(PREFIX + text, { field: 'post-apply checksum', offset, expected, found });
    }
    return trailer;
  }

  /** Returns how far `chunk` was read; the state tells what follows. */
  #readIndex(chunk: Uint8Array): number {
    const varint = this.#varint;
    let at = 0;
    while (at < chunk.length && this.#state === 'index') {
      if (varint.partial === 0) {
        this.#cursor.at = at;
        const value = readUvarint(chunk, this.#cursor);
        if (value >= 0) {
          at = this.#cursor.at;
          this.#value(value, false, at);
          continue;
        }
      }
      // The value goes on in the next piece, or is invalid.
      if (varint.push(chunk[at++]!)) this.#value(varint.value, varint.invalid, at);
    }
    this.#start.crc.update(chunk.subarray(0, at));
    this.#indexSize += at;
    this.#total += at;
    return at;
  }

  /** One value of the index, which must be the one that the frames imply. */
  #value(value: number, invalid: boolean, at: number): void {
    const { frames, offset } = this.#start;
    let expected = 0;
    if (this.#entry < frames.length) {
      if (this.#field === 0) expected = frames.pgnoAt(this.#entry);
      else if (this.#field === 1) expected = this.#frameOffset;
      else expected = frames.sizeAt(this.#entry);
    }
    if (invalid || value !== expected) {
      const field = FIELDS[this.#field]!;
      this.#problem ??= damaged(
        `${PREFIX}read page index: page index disagrees with the page frames`,
        {
          field: `page index ${field}`,
          offset: offset + this.#total + at - 1,
          expected,
          found: invalid ? 'an invalid number' : value,
        },
      );
      this.#state = 'drain';
      return;
    }
    if (this.#entry === frames.length) {
      this.#state = 'fixed';
      return;
    }
    this.#field = (this.#field + 1) % FIELDS.length;
    if (this.#field !== 0) return;
    this.#frameOffset += frames.sizeAt(this.#entry);
    this.#entry++;
  }

  #readFixed(chunk: Uint8Array, start: number): number {
    const piece = chunk.subarray(start, start + FIXED_SIZE - this.#fixedLength);
    this.#fixed.set(piece, this.#fixedLength);
    this.#fixedLength += piece.length;
    this.#total += piece.length;
    const at = start + piece.length;
    if (this.#fixedLength === FIXED_SIZE) {
      this.#checkIndexSize();
      if (at < chunk.length) this.#startOverrun();
    }
    return at;
  }

  #checkIndexSize(): void {
    const found = readU64(this.#fixed, 0);
    if (found === BigInt(this.#indexSize)) return;
    this.#problem ??= damaged(`${PREFIX}read page index: invalid page index size`, {
      field: 'index size',
      offset: this.#start.offset + this.#indexSize,
      expected: this.#indexSize,
      found: String(found),
    });
  }

  /** Bytes follow the trailer: what was taken for the file checksum is not the end. */
  #startOverrun(): void {
    this.#state = 'drain';
    this.#problem ??= damaged(`${PREFIX}data after the trailer`, {
      field: 'end of file',
      offset: this.#start.offset + this.#total,
      expected: 'nothing',
      found: 'more bytes',
    });
    const hashed = FIXED_SIZE - CHECKSUM_SIZE;
    this.#start.crc.update(this.#fixed.subarray(0, hashed));
    this.#held.set(this.#fixed.subarray(hashed));
    this.#heldLength = CHECKSUM_SIZE;
  }

  /** Hashes everything but the last eight bytes seen. */
  #drain(piece: Uint8Array): void {
    const { crc } = this.#start;
    const held = this.#held;
    const surplus = this.#heldLength + piece.length - CHECKSUM_SIZE;
    const fromHeld = Math.min(Math.max(surplus, 0), this.#heldLength);
    crc.update(held.subarray(0, fromHeld));
    held.copyWithin(0, fromHeld, this.#heldLength);
    this.#heldLength -= fromHeld;
    const fromPiece = Math.max(surplus - fromHeld, 0);
    crc.update(piece.subarray(0, fromPiece));
    held.set(piece.subarray(fromPiece), this.#heldLength);
    this.#heldLength += piece.length - fromPiece;
  }

  /** Spec: formats 2.18. */
  #checkTruncation(): void {
    const at = this.#fixedLength;
    if (this.#total < INDEX_SIZE_SIZE) throw this.#cut('unexpected EOF', 'page index');
    if (this.#state === 'index') {
      const field = `page index ${FIELDS[this.#field]!}`;
      const text = this.#varint.partial === 0 ? 'EOF' : 'unexpected EOF';
      throw this.#cut(`read page index: read ${field}: ${text}`, field);
    }
    if (this.#state === 'fixed' && at < INDEX_SIZE_SIZE) {
      const text = at === 0 ? 'EOF' : 'unexpected EOF';
      throw this.#cut(`read page index: read page index size: ${text}`, 'index size');
    }
    if (this.#state === 'fixed' && at < FIXED_SIZE) {
      throw this.#cut(at === INDEX_SIZE_SIZE ? 'EOF' : 'unexpected EOF', 'trailer');
    }
    if (this.#state === 'drain' && this.#heldLength < CHECKSUM_SIZE) {
      throw this.#cut('unexpected EOF', 'trailer');
    }
  }

  #cut(text: string, field: string): LitestreamError {
    return damaged(PREFIX + text, {
      field,
      offset: this.#start.offset + this.#total,
      expected: 'more bytes',
      found: 'end of file',
    });
  }
}
