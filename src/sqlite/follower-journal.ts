import type { FileSystem, OpenFile } from '../lib/file-system.ts';

/** SQLite's rollback journal: header in a sector of its own, then records of page number, page, checksum. */
const MAGIC = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
const SECTOR = 512;
const RECORD_EXTRA = 8;
const BUFFER_BYTES = 1 << 20;

/** Sum of every 200th byte, counted from the end, as SQLite checks it. */
function checksum(nonce: number, page: Uint8Array): number {
  let sum = nonce;
  for (let at = page.length - 200; at > 0; at -= 200) sum += page[at] ?? 0;
  return sum >>> 0;
}

/**
 * The old pages of one change, in the form in which any SQLite rolls them back. Until {@link arm} it means nothing to anybody;
 * from then on until {@link disarm} a process that finds the database unlocked restores the state before the change.
 */
export class FollowerJournal {
  readonly #file: OpenFile;
  readonly #pageSize: number;
  /** Pages of the database before the change. */
  readonly #pageCount: number;
  readonly #nonce: number;
  readonly #buffer: Uint8Array;
  #used = 0;
  #position = SECTOR;
  #records = 0;

  private constructor(file: OpenFile, shape: JournalShape) {
    this.#file = file;
    this.#pageSize = shape.pageSize;
    this.#pageCount = shape.pageCount;
    this.#nonce = shape.nonce;
    const record = shape.pageSize + RECORD_EXTRA;
    // Never more than one record for each page of the database before the change.
    const records = Math.min(Math.floor(BUFFER_BYTES / record), shape.pageCount);
    this.#buffer = new Uint8Array(Math.max(1, records) * record);
  }

  /** Empties the journal file, or makes it. */
  static async create(
    fileSystem: FileSystem,
    path: string,
    shape: JournalShape,
  ): Promise<FollowerJournal> {
    return new FollowerJournal(
      await fileSystem.open('follow:journal-open', path, 'create', shape.mode),
      shape,
    );
  }

  /** Keeps an old page. Copied at once. */
  async add(pgno: number, page: Uint8Array): Promise<void> {
    const record = this.#buffer.subarray(this.#used, this.#used + this.#pageSize + RECORD_EXTRA);
    const view = new DataView(record.buffer, record.byteOffset, record.length);
    view.setUint32(0, pgno);
    record.set(page, 4);
    view.setUint32(4 + this.#pageSize, checksum(this.#nonce, page));
    this.#used += record.length;
    this.#records += 1;
    if (this.#used === this.#buffer.length) await this.#flush();
  }

  /** Writes the records out and to the disk. */
  async complete(): Promise<void> {
    await this.#flush();
    await this.#file.sync('follow:journal-sync');
  }

  /** From here on the journal counts. Only under the exclusive lock. */
  async arm(): Promise<void> {
    const header = new Uint8Array(SECTOR);
    const view = new DataView(header.buffer);
    header.set(MAGIC);
    view.setUint32(8, this.#records);
    view.setUint32(12, this.#nonce);
    view.setUint32(16, this.#pageCount);
    view.setUint32(20, SECTOR);
    view.setUint32(24, this.#pageSize);
    await this.#file.write('follow:journal-arm', header, 0);
    await this.#file.sync('follow:journal-arm-sync');
  }

  /** The change is made for good. */
  async disarm(): Promise<void> {
    await this.#file.truncate('follow:journal-disarm', 0);
    await this.#file.sync('follow:journal-disarm-sync');
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  async #flush(): Promise<void> {
    if (this.#used === 0) return;
    const bytes = this.#buffer.subarray(0, this.#used);
    await this.#file.write('follow:journal-write', bytes, this.#position);
    this.#position += this.#used;
    this.#used = 0;
  }
}

/** The database before the change. */
export interface JournalShape {
  readonly pageSize: number;
  readonly pageCount: number;
  /** Any number. */
  readonly nonce: number;
  /** Permissions of a new journal file. */
  readonly mode: number;
}
