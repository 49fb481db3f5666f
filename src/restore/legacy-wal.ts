import {
  createFrameScan,
  type FrameScan,
  parseWalHeader,
  scanFrames,
  WAL_FRAME_HEADER_SIZE,
  WAL_HEADER_SIZE,
  walSize,
} from '../formats/sqlite/index.ts';
import { LitestreamError } from '../lib/errors.ts';
import type { OpenFile } from '../lib/file-system.ts';

const WINDOW_BYTES = 1024 * 1024;

/**
 * Writes a WAL that arrives in pieces, and checks it on the way: SQLite takes everything from the first wrong frame on for
 * absent and says nothing. Spec: formats 6.2, 6.3, 7.2.
 */
export class WalWriter {
  readonly #file: OpenFile;
  readonly #index: number;
  readonly #pageSize: number;
  readonly #scan: FrameScan;
  readonly #words: Int32Array<ArrayBuffer>;
  readonly #window: Uint8Array<ArrayBuffer>;
  readonly #header = new Uint8Array(WAL_HEADER_SIZE);
  readonly #frameSize: number;
  /** Bytes in the window. */
  #filled = 0;
  #frames = 0;
  #position = 0;
  #commit: number | undefined;

  /**
   * @param index - number of the WAL, for errors
   * @param pageSize - of the database
   */
  constructor(file: OpenFile, index: number, pageSize: number) {
    this.#file = file;
    this.#index = index;
    this.#pageSize = pageSize;
    this.#frameSize = WAL_FRAME_HEADER_SIZE + pageSize;
    const frames = Math.max(1, Math.floor(WINDOW_BYTES / this.#frameSize));
    this.#words = new Int32Array((frames * this.#frameSize) / 4);
    this.#window = new Uint8Array(this.#words.buffer);
    this.#scan = createFrameScan(frames);
    this.#scan.pageSize = pageSize;
  }

  /** Bytes so far. */
  get position(): number {
    return this.#position;
  }

  /** Pages of the database after the last transaction; undefined if there is none. */
  get commit(): number | undefined {
    return this.#commit;
  }

  async write(bytes: Uint8Array): Promise<void> {
    let rest = bytes;
    if (this.#position < WAL_HEADER_SIZE && rest.length > 0) {
      const head = rest.subarray(0, WAL_HEADER_SIZE - this.#position);
      this.#header.set(head, this.#position);
      this.#position += head.length;
      rest = rest.subarray(head.length);
      if (this.#position === WAL_HEADER_SIZE) await this.#begin();
    }
    while (rest.length > 0) {
      const part = rest.subarray(0, this.#window.length - this.#filled);
      this.#window.set(part, this.#filled);
      this.#filled += part.length;
      this.#position += part.length;
      rest = rest.subarray(part.length);
      if (this.#filled === this.#window.length) await this.#flush();
    }
  }

  /** The WAL has ended. @throws LitestreamError `ERR_WAL_FORMAT` if it ends within a frame */
  async finish(): Promise<void> {
    await this.#flush();
    const whole = walSize(this.#frames, this.#pageSize);
    if (this.#position === whole) return;
    throw this.#invalid('size', this.#position, `${whole} bytes`, `${this.#position} bytes`);
  }

  async #begin(): Promise<void> {
    const result = parseWalHeader(this.#header);
    if (result.kind !== 'ok') throw this.#invalid('header', 0, 'a WAL header', result.text);
    const { header } = result;
    if (header.pageSize !== this.#pageSize) {
      throw this.#invalid('page size', 8, this.#pageSize, header.pageSize);
    }
    const scan = this.#scan;
    scan.salt1 = header.salt1;
    scan.salt2 = header.salt2;
    scan.bigEndian = header.bigEndian;
    scan.pair[0] = header.checksum1;
    scan.pair[1] = header.checksum2;
    await this.#file.write('restore:write-wal', this.#header, 0);
  }

  async #flush(): Promise<void> {
    const frames = Math.floor(this.#filled / this.#frameSize);
    const bytes = frames * this.#frameSize;
    const offset = walSize(this.#frames, this.#pageSize);
    const valid = scanFrames(this.#words, bytes, this.#scan);
    if (valid < frames) {
      const at = offset + valid * this.#frameSize;
      throw this.#invalid(
        'frame',
        at,
        'a frame that continues the WAL',
        'another salt or checksum',
      );
    }
    if (this.#scan.lastCommit >= 0) this.#commit = this.#scan.commits[this.#scan.lastCommit];
    await this.#file.write('restore:write-wal', this.#window.subarray(0, bytes), offset);
    this.#frames += frames;
    this.#filled -= bytes;
  }

  #invalid(
    field: string,
    offset: number,
    expected: string | number,
    found: string | number,
  ): LitestreamError {
    const message = `invalid WAL ${this.#index} (${field} at byte ${offset}: expected ${expected}, found ${found})`;
    return new LitestreamError('ERR_WAL_FORMAT', message, {
      details: { field, offset, expected, found, index: this.#index },
    });
  }
}
