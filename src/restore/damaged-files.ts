import type { LitestreamError } from '../lib/errors.ts';
import type { FileKey } from '../storage/index.ts';
import type { Listing, RestorePlan } from './plan.ts';

/** So many damaged files are planned around: each costs another beginning. */
const FILES_MAX = 16;

/** Files that turned out to be damaged in the course of one restore. Spec: failures RST-12. */
export class DamagedFiles {
  readonly #keys = new Set<string>();
  /** The first one's error, and what the plan with it would have reached. */
  #first: { readonly error: LitestreamError; readonly maxTxid: bigint } | undefined;

  /** Notes the damage that ended an attempt. False if it is no use to plan without the file. */
  note(error: LitestreamError, { maxTxid }: RestorePlan): boolean {
    const key = keyOf(error);
    if (key === undefined || this.#keys.has(key) || this.#keys.size === FILES_MAX) return false;
    this.#keys.add(key);
    this.#first ??= { error, maxTxid };
    return true;
  }

  /** The listing without these files. */
  without(listing: Listing): Listing {
    if (this.#keys.size === 0) return listing;
    return listing.map((files) => files.filter((file) => !this.#keys.has(nameOf(file))));
  }

  /** The error to end with if there is no plan at all. */
  get error(): LitestreamError | undefined {
    return this.#first?.error;
  }

  /** A plan without these files must give the same state, or a later one: an older one is not what was asked for. */
  check({ maxTxid }: RestorePlan): void {
    if (this.#first !== undefined && maxTxid < this.#first.maxTxid) throw this.#first.error;
  }
}

function nameOf({ level, minTxid, maxTxid }: FileKey): string {
  return `${level}/${minTxid}-${maxTxid}`;
}

function keyOf({ details }: LitestreamError): string | undefined {
  const { level, maxTxid, minTxid } = details;
  if (typeof level !== 'number' || typeof minTxid !== 'bigint' || typeof maxTxid !== 'bigint') {
    return undefined;
  }
  return `${level}/${minTxid}-${maxTxid}`;
}
