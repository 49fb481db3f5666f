import { isSnapshot, missingPage, orderViolation, type LtxHeader } from '../formats/ltx/index.ts';
import { LitestreamError, type LitestreamErrorInit } from '../lib/errors.ts';
import { lockPgno } from '../lib/page.ts';

/** An error of the writer, in the reference's words. */
export function encodeError(
  text: string,
  details?: LitestreamErrorInit['details'],
): LitestreamError {
  return new LitestreamError('ERR_LTX_ENCODE', text, details === undefined ? {} : { details });
}

/**
 * Which pages a file may still take. Spec: formats 2.16.
 */
export class PageOrder {
  readonly #header: LtxHeader;
  readonly #snapshot: boolean;
  readonly #lock: number;
  #last = 0;
  #open = true;

  constructor(header: LtxHeader) {
    this.#header = header;
    this.#snapshot = isSnapshot(header);
    this.#lock = lockPgno(header.pageSize);
  }

  get isOpen(): boolean {
    return this.#open;
  }

  /** The page that no file holds. */
  get lock(): number {
    return this.#lock;
  }

  close(): void {
    this.#open = false;
  }

  /** @throws LitestreamError `ERR_LTX_ENCODE` */
  requireOpen(): void {
    if (!this.#open) throw encodeError('ltx encoder closed');
  }

  /**
   * Checks one page against the pages before it and makes it the last one.
   *
   * @param offset - bytes of the file so far, for the error
   * @throws LitestreamError `ERR_LTX_ENCODE` with the reference's texts
   */
  take(pgno: number, offset: number): void {
    this.requireOpen();
    const last = this.#last;
    const follows = this.#snapshot ? pgno === last + 1 : pgno > last;
    if (!follows || pgno > this.#header.commit || pgno === this.#lock) this.#explain(pgno, offset);
    this.#last = pgno;
  }

  /** Not in the reference, which fails only when such a snapshot is restored. @throws as {@link take} */
  requireComplete(offset: number): void {
    const expected = missingPage(this.#header, this.#last);
    if (expected === undefined) return;
    const { commit } = this.#header;
    throw encodeError(`incomplete snapshot: page ${expected} is missing, commit size ${commit}`, {
      field: 'page number',
      offset,
      expected,
      found: 'end of pages',
    });
  }

  /** The unusual cases: the successor of the lock page, or an error. */
  #explain(pgno: number, offset: number): void {
    const { commit } = this.#header;
    const details = { field: 'page number', offset, found: pgno };
    if (pgno > commit) {
      throw encodeError(`page number ${pgno} out-of-bounds for commit size ${commit}`, details);
    }
    if (pgno === 0) throw encodeError('page number required', details);
    const text = orderViolation(this.#header, this.#last, pgno);
    if (text !== undefined) throw encodeError(text, details);
  }
}
