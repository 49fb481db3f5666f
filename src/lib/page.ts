/** Smallest and largest page size of SQLite and LTX, in bytes. */
export const MIN_PAGE_SIZE = 512;
export const MAX_PAGE_SIZE = 65536;

/** Byte that SQLite locks: no page that contains it is ever stored. */
const PENDING_BYTE = 0x4000_0000;

/** True for the powers of two from 512 to 65536. */
export function isPageSize(value: number): boolean {
  return (
    Number.isInteger(value) &&
    value >= MIN_PAGE_SIZE &&
    value <= MAX_PAGE_SIZE &&
    (value & (value - 1)) === 0
  );
}

/** Number of the page that holds the lock bytes (1 GiB into the file). Spec: formats 2.13. */
export function lockPgno(pageSize: number): number {
  return Math.floor(PENDING_BYTE / pageSize) + 1;
}
