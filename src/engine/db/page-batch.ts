import { assert } from '../../lib/assert.ts';

/** In `#frames`: the page's newest image is in the batch's own memory, not in the WAL. */
const IN_MEMORY = 0xffff_ffff;
/** In `#images`: no image memory assigned yet. */
const NO_IMAGE = 0xffff_ffff;
const IMAGE_CHUNK_BYTES = 1 << 20;
const SLOTS_MIN = 64;
/** Tables of a batch without a page: an idle database has one. */
const NO_TABLE = new Uint32Array(1);
const NO_SLOTS = new Uint32Array(0);

/** Reads page images from the WAL for a batch. */
export interface FrameReader {
  /** Reads the image of page `pgno` that WAL frame `frame` holds (0-based in the batch's WAL generation). */
  readFrame(frame: number, pgno: number, target: Uint8Array): void;
}

/**
 * The newest committed version of every page captured since the last transaction file, as typed arrays: a hash table
 * from page number to slot, and per slot the frame in the WAL or the place in memory that holds the image.
 *
 * Images stay in the WAL as long as they can; {@link gather} copies them to memory before a checkpoint lets the WAL restart.
 * Memory: 12 bytes per distinct page, and one page per gathered image.
 */
export class PageBatch {
  readonly pageSize: number;
  #table = NO_TABLE;
  #pgnos = NO_SLOTS;
  #frames = NO_SLOTS;
  #images = NO_SLOTS;
  #count = 0;
  #inWal = 0;
  #imageCount = 0;
  readonly #chunks: Uint8Array[] = [];
  readonly #imagesPerChunk: number;

  constructor(pageSize: number) {
    this.pageSize = pageSize;
    this.#imagesPerChunk = Math.max(1, Math.floor(IMAGE_CHUNK_BYTES / pageSize));
  }

  /** Distinct pages. */
  get count(): number {
    return this.#count;
  }

  /** Pages whose image is still in the WAL only. */
  get inWal(): number {
    return this.#inWal;
  }

  /** Bytes of gathered images. */
  get memoryBytes(): number {
    return this.#imageCount * this.pageSize;
  }

  has(pgno: number): boolean {
    return this.#table[this.#find(pgno)] !== 0;
  }

  /** Records that the newest image of `pgno` is in WAL frame `frame` (0-based, below 2^32 − 1). */
  put(pgno: number, frame: number): void {
    if (this.#table === NO_TABLE) this.#table = new Uint32Array(4 * SLOTS_MIN);
    const at = this.#find(pgno);
    const known = this.#table[at] ?? 0;
    if (known !== 0) {
      if (this.#frames[known - 1] === IN_MEMORY) this.#inWal++;
      this.#frames[known - 1] = frame;
      return;
    }
    if (this.#count === this.#pgnos.length) this.#growSlots();
    const slot = this.#count++;
    this.#pgnos[slot] = pgno;
    this.#frames[slot] = frame;
    this.#images[slot] = NO_IMAGE;
    this.#inWal++;
    this.#table[at] = slot + 1;
    if (this.#count * 2 > this.#table.length) this.#growTable();
  }

  /** Records an image that is not in the WAL; the returned page of memory is the caller's to fill. */
  putImage(pgno: number): Uint8Array {
    this.put(pgno, 0);
    const slot = (this.#table[this.#find(pgno)] ?? 0) - 1;
    return this.#intoMemory(slot);
  }

  /** If the newest image of `pgno` is in `frame`, assigns memory for it and returns it to be filled. */
  claim(pgno: number, frame: number): Uint8Array | undefined {
    const slot = (this.#table[this.#find(pgno)] ?? 0) - 1;
    if (slot < 0 || this.#frames[slot] !== frame) return undefined;
    return this.#intoMemory(slot);
  }

  /** Copies every image that is still in the WAL to memory. Frame numbers mean nothing afterwards. */
  gather(reader: FrameReader): void {
    if (this.#inWal === 0) return;
    for (let slot = 0; slot < this.#count; slot++) {
      const frame = this.#frames[slot] ?? IN_MEMORY;
      if (frame !== IN_MEMORY) {
        reader.readFrame(frame, this.#pgnos[slot] ?? 0, this.#intoMemory(slot));
      }
    }
    assert(this.#inWal === 0, 'every image was gathered');
  }

  /** Page numbers in ascending order, without those above `commit`. */
  sortedPages(commit: number): Uint32Array {
    const pages = this.#pgnos.slice(0, this.#count).sort();
    let end = pages.length;
    while (end > 0 && (pages[end - 1] ?? 0) > commit) end--;
    return pages.subarray(0, end);
  }

  /** Puts the newest image of `pgno` into `target`. The page must be in the batch. */
  read(pgno: number, target: Uint8Array, reader: FrameReader): void {
    const slot = (this.#table[this.#find(pgno)] ?? 0) - 1;
    assert(slot >= 0, `page ${pgno} is in the batch`);
    const frame = this.#frames[slot] ?? IN_MEMORY;
    if (frame === IN_MEMORY) target.set(this.#image(this.#images[slot] ?? NO_IMAGE));
    else reader.readFrame(frame, pgno, target);
  }

  /** Index in the table of `pgno`'s entry, or of the free place where it would go. */
  #find(pgno: number): number {
    const table = this.#table;
    const mask = table.length - 1;
    let at = Math.imul(pgno, 0x9e37_79b1) >>> 0;
    at = (at ^ (at >>> 15)) & mask;
    for (;;) {
      const slot = table[at] ?? 0;
      if (slot === 0 || this.#pgnos[slot - 1] === pgno) return at;
      at = (at + 1) & mask;
    }
  }

  #intoMemory(slot: number): Uint8Array {
    let image = this.#images[slot] ?? NO_IMAGE;
    if (image === NO_IMAGE) {
      image = this.#imageCount++;
      this.#images[slot] = image;
      if (image === this.#chunks.length * this.#imagesPerChunk) {
        this.#chunks.push(new Uint8Array(this.#imagesPerChunk * this.pageSize));
      }
    }
    if (this.#frames[slot] !== IN_MEMORY) this.#inWal--;
    this.#frames[slot] = IN_MEMORY;
    return this.#image(image);
  }

  #image(image: number): Uint8Array {
    const chunk = this.#chunks[Math.floor(image / this.#imagesPerChunk)];
    assert(chunk !== undefined, 'the image has memory');
    const start = (image % this.#imagesPerChunk) * this.pageSize;
    return chunk.subarray(start, start + this.pageSize);
  }

  #growSlots(): void {
    const grow = (old: Uint32Array): Uint32Array<ArrayBuffer> => {
      const wider = new Uint32Array(Math.max(SLOTS_MIN, old.length * 2));
      wider.set(old);
      return wider;
    };
    this.#pgnos = grow(this.#pgnos);
    this.#frames = grow(this.#frames);
    this.#images = grow(this.#images);
  }

  #growTable(): void {
    this.#table = new Uint32Array(this.#table.length * 4);
    for (let slot = 0; slot < this.#count; slot++) {
      this.#table[this.#find(this.#pgnos[slot] ?? 0)] = slot + 1;
    }
  }
}
