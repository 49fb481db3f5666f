import { present } from '../../lib/assert.ts';

const CHUNK_BITS = 16;
const CHUNK = 1 << CHUNK_BITS;

/** Page numbers and frame sizes of a file, in file order. The offsets follow: frames touch, the first is at byte 100. */
export interface FrameList {
  readonly length: number;
  pgnoAt(position: number): number;
  /** Bytes of the whole frame: page header, size prefix, payload. */
  sizeAt(position: number): number;
}

/** A growing list of unsigned 32-bit numbers in chunks: 4 bytes each, nothing is copied when it grows. */
class U32List {
  readonly #chunks: Uint32Array[] = [];
  length = 0;

  push(value: number): void {
    const inChunk = this.length & (CHUNK - 1);
    if (inChunk === 0) this.#chunks.push(new Uint32Array(this.#chunks.length === 0 ? 64 : CHUNK));
    let chunk = present(this.#chunks[this.length >>> CHUNK_BITS], 'chunk of a list');
    if (inChunk >= chunk.length) chunk = this.#enlargeFirst(chunk);
    chunk[inChunk] = value;
    this.length++;
  }

  /** Every `stride`-th word from `at` on. */
  pushRun(words: Int32Array, at: number, count: number, stride: number): void {
    let from = at;
    for (let left = count; left > 0;) {
      const inChunk = this.length & (CHUNK - 1);
      // Makes room as for a single value.
      this.push(words[from]!);
      from += stride;
      left--;
      const chunk = present(this.#chunks[(this.length - 1) >>> CHUNK_BITS], 'chunk of a list');
      const more = Math.min(left, chunk.length - inChunk - 1);
      for (let index = 1; index <= more; index++, from += stride) {
        chunk[inChunk + index] = words[from]!;
      }
      this.length += more;
      left -= more;
    }
  }

  /** The first chunk starts small, because most files hold few pages. */
  #enlargeFirst(chunk: Uint32Array): Uint32Array {
    const larger = new Uint32Array(chunk.length * 4);
    larger.set(chunk);
    this.#chunks[0] = larger;
    return larger;
  }

  at(position: number): number {
    return this.#chunks[position >>> CHUNK_BITS]![position & (CHUNK - 1)]!;
  }
}

/** A growing {@link FrameList}: 8 bytes per page. */
export class FrameTable implements FrameList {
  readonly #pgnos = new U32List();
  readonly #sizes = new U32List();

  get length(): number {
    return this.#sizes.length;
  }

  push(pgno: number, size: number): void {
    this.#pgnos.push(pgno);
    this.#sizes.push(size);
  }

  /** Frames as `Kernel.decodeFrames` lists them: groups of four words, the first is the page number, the third the size. */
  pushRun(words: Int32Array, at: number, count: number): void {
    this.#pgnos.pushRun(words, at, count, 4);
    this.#sizes.pushRun(words, at + 2, count, 4);
  }

  pgnoAt(position: number): number {
    return this.#pgnos.at(position);
  }

  sizeAt(position: number): number {
    return this.#sizes.at(position);
  }
}
