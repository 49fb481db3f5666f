import { randomBytes } from 'node:crypto';
import { matchFileName } from '../../../formats/ltx/index.ts';

/** An LTX file's name and what a writer adds until it is complete: ours, and those of the reference. */
const TEMPORARY = /^([0-9a-f]{16}-[0-9a-f]{16}\.ltx)\.[0-9a-z.]+\.tmp$/;
/** Nobody writes at one file for so long. Servers' clocks may be wrong by hours. */
const STALE_MS = 24 * 60 * 60 * 1000;

/**
 * Temporary files that nobody will rename any more: of a process that was killed, or of an attempt whose connection broke. A listing
 * finds them, the next write into that folder removes them; what only reads removes nothing.
 */
export class Temporaries {
  /** Full paths: those being written by this process. */
  readonly #active = new Set<string>();
  /** By folder. */
  readonly #stale = new Map<string, Set<string>>();
  /** By the file that they were to become. */
  readonly #abandoned = new Map<string, Set<string>>();

  /** A name that nobody else has, also not a former attempt whose last requests may still be on their way. */
  begin(path: string): string {
    const temporary = `${path}.${randomBytes(8).toString('hex')}.tmp`;
    this.#active.add(temporary);
    return temporary;
  }

  /** It has been renamed or removed. */
  end(temporary: string): void {
    this.#active.delete(temporary);
  }

  /** It could not be removed. */
  leave(directory: string, temporary: string): void {
    this.#active.delete(temporary);
    add(this.#stale, directory, temporary);
  }

  /** Looks at one name of a listing. */
  notice(directory: string, name: string, ageMs: number): void {
    const target = TEMPORARY.exec(name)?.[1];
    if (target === undefined || matchFileName(target) === undefined) return;
    const temporary = `${directory}/${name}`;
    if (this.#active.has(temporary)) return;
    if (ageMs > STALE_MS) add(this.#stale, directory, temporary);
    else add(this.#abandoned, `${directory}/${target}`, temporary);
  }

  /**
   * What may go once this file has been written: everything stale in its folder, and former attempts at the file itself, since two
   * processes never write the same one.
   */
  takeAfter(directory: string, path: string): string[] {
    const found = [...(this.#stale.get(directory) ?? []), ...(this.#abandoned.get(path) ?? [])];
    this.#stale.delete(directory);
    this.#abandoned.delete(path);
    return found.filter((temporary) => !this.#active.has(temporary));
  }
}

function add(map: Map<string, Set<string>>, key: string, value: string): void {
  const set = map.get(key) ?? new Set();
  set.add(value);
  map.set(key, set);
}
