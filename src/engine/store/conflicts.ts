import { LitestreamError } from '../../lib/errors.ts';
import { identify } from '../../sqlite/index.ts';
import type { DatabaseOptions } from '../options.ts';

/**
 * Files, metadata folders and replica locations that are taken. Each belongs to one database: two that share one would destroy each
 * other's history. Spec: failures OPS-19, OPS-20.
 */
export class Claims {
  readonly #owners = new Map<string, string>();
  readonly #keys = new Map<string, string[]>();
  /** Databases without a file when it was looked for. */
  readonly #missing = new Set<string>();

  /**
   * Claims the file and the metadata folder of a database.
   *
   * @throws LitestreamError `ERR_CONFIG` if another database has one of them
   */
  claimFiles({ path, metaPath }: DatabaseOptions): void {
    const isClaimed = this.#keys.has(path) || this.#missing.has(path);
    for (const missing of this.#missing) this.#claimFile(missing);
    const twin = isClaimed ? path : this.#claimFile(path);
    if (twin !== undefined) {
      throw conflict(path, twin, `databases ${twin} and ${path} are the same file; list it once`);
    }
    const other = this.#claim(`meta ${metaPath}`, path);
    if (other === undefined) return;
    const text = `meta-path collision: databases ${other} and ${path} would share meta-path ${metaPath}`;
    throw conflict(path, other, `${text}, causing replication state corruption; give each its own`);
  }

  /** Claims the replica locations of a database. Returns what is wrong if another one has one of them. */
  claimPlaces({ path, replicas }: DatabaseOptions): LitestreamError | undefined {
    let found: LitestreamError | undefined;
    for (const { client } of replicas) {
      const other = this.#claim(`place ${client.type}:${client.location}`, path);
      if (other === undefined) continue;
      const text = `databases ${other} and ${path} share replica ${client.location}; give each its own path`;
      found = conflict(path, other, text);
    }
    return found;
  }

  /** Whose file is under a path, whatever its name is there; undefined if it is nobody's, or nothing is there. */
  ownerOf(path: string): string | undefined {
    for (const missing of this.#missing) this.#claimFile(missing);
    const key = fileKey(path);
    const owner = key === undefined ? undefined : this.#owners.get(key);
    return owner !== undefined && fileKey(owner) === key ? owner : undefined;
  }

  /** Gives back what a database has claimed. */
  release(path: string): void {
    this.#missing.delete(path);
    for (const key of this.#keys.get(path) ?? []) this.#owners.delete(key);
    this.#keys.delete(path);
  }

  /** Claims the file under a path by what it is. Returns who has the same file under another path. */
  #claimFile(path: string): string | undefined {
    const key = fileKey(path);
    if (key === undefined) {
      this.#missing.add(path);
      return undefined;
    }
    this.#missing.delete(path);
    const twin = this.#claim(key, path);
    if (twin === undefined || twin === path || fileKey(twin) === key) {
      return twin === path ? undefined : twin;
    }
    // Its file was replaced, and the number given to another file.
    this.#owners.delete(key);
    this.#claimFile(twin);
    return this.#claim(key, path);
  }

  /** Who has the key already; claims it otherwise. */
  #claim(key: string, path: string): string | undefined {
    const other = this.#owners.get(key);
    if (other !== undefined) return other;
    this.#owners.set(key, path);
    const keys = this.#keys.get(path);
    if (keys === undefined) this.#keys.set(path, [key]);
    else keys.push(key);
    return undefined;
  }
}

function fileKey(path: string): string | undefined {
  const found = identify(path);
  return found === undefined ? undefined : `file ${found.dev}:${found.ino}`;
}

function conflict(path: string, other: string, text: string): LitestreamError {
  return new LitestreamError('ERR_CONFIG', text, { details: { path, other } });
}
