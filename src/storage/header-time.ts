import { LitestreamError } from '../lib/errors.ts';

/** Bytes of an LTX header. Spec: formats 2.2. */
export const LTX_HEADER_SIZE = 100;

const TIMESTAMP_OFFSET = 32;
const MAGIC = 'LTX1';

function rejected(reason: string, details: Readonly<Record<string, unknown>>): LitestreamError {
  return new LitestreamError('ERR_LTX_HEADER', `extract timestamp from LTX header: ${reason}`, {
    details,
  });
}

/**
 * The creation time in the first 100 bytes of an LTX file, in milliseconds since the Unix epoch. Checks the length and the
 * magic and nothing else: what a replica stores is not the storage's business. Spec: formats 4.2.
 *
 * @throws LitestreamError `ERR_LTX_HEADER`: `extract timestamp from LTX header: …` with the reference's reasons.
 */
export function headerTimestamp(bytes: Uint8Array): number {
  if (bytes.length < LTX_HEADER_SIZE) {
    const details = { field: 'header', offset: 0, expected: LTX_HEADER_SIZE, found: bytes.length };
    throw rejected(bytes.length === 0 ? 'EOF' : 'unexpected EOF', details);
  }
  const magic = String.fromCharCode(...bytes.subarray(0, MAGIC.length));
  if (magic !== MAGIC) {
    const found = Buffer.from(bytes.subarray(0, MAGIC.length)).toString('hex');
    throw rejected('invalid LTX file', { field: 'magic', offset: 0, expected: MAGIC, found });
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Number(view.getBigInt64(TIMESTAMP_OFFSET));
}
