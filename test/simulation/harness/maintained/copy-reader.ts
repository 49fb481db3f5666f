import { DatabaseSync } from 'node:sqlite';
import { check } from '../violation.ts';

export interface CopyReaderOptions {
  readonly path: string;
  /** The last TXID at which a committed state was this image; undefined if it is none. */
  readonly find: (image: Uint8Array) => bigint | undefined;
}

/** A program that has a followed database open for long. */
export class CopyReader {
  readonly #db: DatabaseSync;
  readonly #find: CopyReaderOptions['find'];
  /** What it saw last. */
  #seen = 0n;
  #held: Uint8Array | undefined;

  constructor({ find, path }: CopyReaderOptions) {
    this.#find = find;
    // Not for reading only: whoever comes first after a crash rolls back.
    this.#db = new DatabaseSync(path, { timeout: 0 });
  }

  get holds(): boolean {
    return this.#held !== undefined;
  }

  /** Begins a read transaction that stays. False if the follower is writing. */
  hold(): boolean {
    this.#held ??= this.#begin();
    return this.#held !== undefined;
  }

  /** Ends it. */
  release(): void {
    if (this.#held === undefined) return;
    const now = this.#db.serialize();
    check(Buffer.compare(now, this.#held) === 0, 'I6: a read transaction keeps its state');
    this.#db.exec('COMMIT');
    this.#held = undefined;
  }

  /** Sees a committed state, not an older one than before; undefined if the follower is writing. */
  look(): bigint | undefined {
    if (this.#held !== undefined) return this.#seen;
    const image = this.#begin();
    if (image === undefined) return undefined;
    this.#db.exec('COMMIT');
    return this.#seen;
  }

  close(): void {
    this.#db.close();
  }

  #begin(): Uint8Array | undefined {
    const image = this.#image();
    if (image === undefined) return undefined;
    const found = this.#find(image);
    check(found !== undefined, 'I6: a reader of a followed database sees a committed state');
    check(found >= this.#seen, `I7: a reader that saw ${this.#seen} does not see ${found}`);
    this.#seen = found;
    return image;
  }

  /** Within a read transaction. */
  #image(): Uint8Array | undefined {
    try {
      this.#db.exec('BEGIN');
      this.#db.prepare('SELECT count(*) FROM sqlite_schema').get();
      return this.#db.serialize();
    } catch (error) {
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK');
      if (error instanceof Error && /locked|busy/.test(error.message)) return undefined;
      throw error;
    }
  }
}
