import { join } from 'node:path';
import { LitestreamError } from '../../lib/errors.ts';
import type { FileSystem } from '../../lib/file-system.ts';
import { isMissing, osErrorCode } from '../../lib/os-error.ts';
import { isAlive, ownIdentity, type ProcessIdentity } from '../../lib/process-identity.ts';
import type { LocalOwnership } from './local-files.ts';

const NAME = 'lock';
const TEXT_BYTES_MAX = 200;

/**
 * Keeps a second daemon of this machine from the same metadata folder: `<meta>/lock` names the process that uses it. Left behind
 * by a killed process it means nothing. The same process may take it again. Spec: replication W-20.
 */
export class MetaLock {
  readonly #path: string;
  readonly #fs: FileSystem;
  #held = false;

  constructor(metaPath: string, fileSystem: FileSystem) {
    this.#path = join(metaPath, NAME);
    this.#fs = fileSystem;
  }

  /** @throws LitestreamError `ERR_LOCKED` if a living process has it, `ERR_IO` */
  async acquire(metaPath: string, ownership: LocalOwnership): Promise<void> {
    if (this.#held) return;
    await this.#fs.makeDirectory('lock:mkdir', metaPath, ownership.directory);
    for (let attempt = 0; attempt < 3; attempt++) {
      if (await this.#create(ownership)) {
        this.#held = true;
        return;
      }
      const holder = await this.#read();
      if (holder !== undefined && holder.pid !== ownIdentity().pid && isAlive(holder)) {
        throw new LitestreamError(
          'ERR_LOCKED',
          `another litestream (process ${holder.pid}) replicates this database, see ${this.#path}`,
          {
            details: { path: this.#path, pid: holder.pid },
            hint: 'stop one of the two',
            retryable: true,
          },
        );
      }
      await this.#fs.remove('lock:remove', this.#path);
    }
    throw new LitestreamError('ERR_LOCKED', `cannot take ${this.#path}`, { retryable: true });
  }

  /** Gives the lock back. Never throws: what is left behind means nothing once the process has ended. */
  async release(): Promise<void> {
    if (!this.#held) return;
    this.#held = false;
    try {
      await this.#fs.remove('lock:remove', this.#path);
    } catch {
      // See above.
    }
  }

  async #create(ownership: LocalOwnership): Promise<boolean> {
    try {
      const { mode } = ownership.file;
      const file = await this.#fs.open('lock:open', this.#path, 'create-new', mode);
      try {
        const { pid, startedAt } = ownIdentity();
        const text = `${pid} ${startedAt}\n`;
        await file.write('lock:write', new TextEncoder().encode(text), 0);
      } finally {
        await file.close();
      }
      return true;
    } catch (error) {
      if (osErrorCode(error) === 'EEXIST') return false;
      throw error;
    }
  }

  async #read(): Promise<ProcessIdentity | undefined> {
    try {
      const file = await this.#fs.open('lock:open', this.#path, 'read');
      try {
        const bytes = new Uint8Array(TEXT_BYTES_MAX);
        const length = await file.read('lock:read', bytes, 0);
        const [pid = '', startedAt = ''] = new TextDecoder()
          .decode(bytes.subarray(0, length))
          .trim()
          .split(' ');
        return /^\d+$/.test(pid) ? { pid: Number(pid), startedAt } : undefined;
      } finally {
        await file.close();
      }
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }
}
