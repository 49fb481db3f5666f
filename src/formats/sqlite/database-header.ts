import { isPageSize } from '../../lib/page.ts';

/** Bytes at the start of page 1 that describe the database. */
export const DATABASE_HEADER_SIZE = 100;

const MAGIC = 'SQLite format 3\0';
const FORMATS_AT = 18;
const CHANGE_COUNTER_AT = 24;
const PAGE_COUNT_AT = 28;
const VERSION_VALID_FOR_AT = 92;

/** What Litestream reads of the first 100 bytes of a database. Spec: formats 6.1. */
export interface DatabaseHeader {
  /** Bytes, 512 … 65536. */
  readonly pageSize: number;
  /** 2 = WAL, 1 = rollback journal. */
  readonly writeVersion: number;
  readonly readVersion: number;
  readonly changeCounter: number;
  /** As stored; the size of a live database is its file size or the commit field of the WAL. */
  readonly pageCount: number;
}

/** True if `bytes` begin like a database: at least 16 bytes, the right ones. Spec: formats 6.1. */
export function hasDatabaseMagic(bytes: Uint8Array): boolean {
  if (bytes.length < MAGIC.length) return false;
  for (let at = 0; at < MAGIC.length; at++) if (bytes[at] !== MAGIC.charCodeAt(at)) return false;
  return true;
}

/** The header at the start of `bytes`; undefined if they are short, no database, or the page size is invalid. */
export function parseDatabaseHeader(bytes: Uint8Array): DatabaseHeader | undefined {
  if (bytes.length < DATABASE_HEADER_SIZE || !hasDatabaseMagic(bytes)) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, DATABASE_HEADER_SIZE);
  const stored = view.getUint16(16);
  // 65536 does not fit in 16 bits.
  const pageSize = stored === 1 ? 65536 : stored;
  if (!isPageSize(pageSize)) return undefined;
  return {
    pageSize,
    writeVersion: view.getUint8(FORMATS_AT),
    readVersion: view.getUint8(FORMATS_AT + 1),
    changeCounter: view.getUint32(CHANGE_COUNTER_AT),
    pageCount: view.getUint32(PAGE_COUNT_AT),
  };
}

/**
 * Makes readers of the database with this page 1 use the rollback journal: they do not look for a WAL, and drop their
 * cache whenever the change counter differs. Spec: formats 6.1.
 *
 * @param page1 - changed in place
 * @param changeCounter - any value that differs from the one before
 */
export function patchFollowedPage(page1: Uint8Array, changeCounter: number): void {
  page1[FORMATS_AT] = 1;
  page1[FORMATS_AT + 1] = 1;
  new DataView(page1.buffer, page1.byteOffset, page1.length).setUint32(
    CHANGE_COUNTER_AT,
    changeCounter,
  );
}

/**
 * {@link patchFollowedPage} for a page that is about to be written: the size in the header is the real one, and marked as
 * valid for this change counter, so that SQLite goes on trusting it.
 *
 * @param page1 - changed in place
 */
export function stampFollowedPage(
  page1: Uint8Array,
  { changeCounter, pageCount }: Pick<DatabaseHeader, 'changeCounter' | 'pageCount'>,
): void {
  patchFollowedPage(page1, changeCounter);
  const view = new DataView(page1.buffer, page1.byteOffset, page1.length);
  view.setUint32(PAGE_COUNT_AT, pageCount);
  view.setUint32(VERSION_VALID_FOR_AT, changeCounter);
}
