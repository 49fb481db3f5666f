import { LitestreamError } from '../../../lib/errors.ts';

/** A key that the server is known by. */
export interface PinnedKey {
  /** As the key itself names it: `ssh-ed25519`. */
  readonly type: string;
  /** As on the wire. */
  readonly blob: Buffer;
}

/** What a server with such a key may sign with. A server shows one key only: the first kind of the client's list that it has. */
const ALGORITHMS: ReadonlyMap<string, readonly HostKeyAlgorithm[]> = new Map([
  ['ecdsa-sha2-nistp256', ['ecdsa-sha2-nistp256']],
  ['ecdsa-sha2-nistp384', ['ecdsa-sha2-nistp384']],
  ['ecdsa-sha2-nistp521', ['ecdsa-sha2-nistp521']],
  ['ssh-ed25519', ['ssh-ed25519']],
  ['ssh-rsa', ['rsa-sha2-512', 'rsa-sha2-256', 'ssh-rsa']],
]);

/** The signature algorithms that are asked for, in the words of the protocol. */
export type HostKeyAlgorithm =
  | 'ecdsa-sha2-nistp256'
  | 'ecdsa-sha2-nistp384'
  | 'ecdsa-sha2-nistp521'
  | 'rsa-sha2-256'
  | 'rsa-sha2-512'
  | 'ssh-ed25519'
  | 'ssh-rsa';

/**
 * The keys of a `host-key` setting: lines as in `authorized_keys` or as `ssh-keyscan` prints them. More than one line allows any of
 * these keys. Spec: backends 5.5.
 *
 * @throws LitestreamError `ERR_CONFIG` `cannot parse sftp host key: …`
 */
export function parseHostKeys(text: string): readonly PinnedKey[] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => parseLine(line));
}

function parseLine(line: string): PinnedKey {
  const words = line.split(/\s+/);
  const at = words.findIndex((word) => ALGORITHMS.has(word));
  const type = words[at];
  if (type === undefined) throw refused('no key type that is known here', line);
  const base64 = words[at + 1] ?? '';
  const blob = Buffer.from(base64, 'base64');
  // Base64 decoding skips what it does not know.
  if (base64 === '' || blob.toString('base64') !== base64) throw refused('not base64', line);
  if (keyType(blob) !== type) throw refused('the key is of another type', line);
  return { type, blob };
}

function refused(reason: string, line: string): LitestreamError {
  return new LitestreamError('ERR_CONFIG', `cannot parse sftp host key: ${reason}`, {
    details: { hostKey: line },
    hint: 'give a line such as "ssh-ed25519 AAAA…", as ssh-keyscan prints it',
  });
}

/** The type that a key on the wire begins with. */
export function keyType(blob: Buffer): string {
  if (blob.length < 4) return '';
  return blob.subarray(4, 4 + blob.readUInt32BE(0)).toString('latin1');
}

/** What to ask the server for, so that it shows one of these keys. */
export function algorithmsFor(keys: readonly PinnedKey[]): HostKeyAlgorithm[] {
  return [...new Set(keys.flatMap(({ type }) => ALGORITHMS.get(type) ?? []))];
}

/** A key from the wire as a line for a configuration. */
export function formatHostKey(blob: Buffer): string {
  return `${keyType(blob)} ${blob.toString('base64')}`;
}
