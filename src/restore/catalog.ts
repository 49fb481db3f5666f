import { present } from '../lib/assert.ts';
import { throwIfAborted } from '../lib/clock.ts';
import {
  type CallOptions,
  type FileInfo,
  mapOrdered,
  type ReplicaClient,
} from '../storage/index.ts';
import type { DamagedFiles } from './damaged-files.ts';
import { type LegacyListing, listLegacy } from './legacy-plan.ts';
import { listAll, type Listing, LISTINGS_AT_ONCE } from './plan.ts';

const TIMES_AT_ONCE = 50;

export interface CatalogOptions extends CallOptions {
  /** True if exact creation times are going to matter. */
  readonly timed: boolean;
  /** Files that are not to be planned with. */
  readonly damaged?: DamagedFiles | undefined;
}

/**
 * What a replica holds: each level is listed once, and each creation time that takes a request is asked for once. Nothing is asked
 * before it is needed. Spec: failures RST-13, RST-26.
 */
export class ReplicaCatalog {
  readonly #client: ReplicaClient;
  readonly #options: CatalogOptions;
  /** Exact times of files that a listing has only a cheap one of. */
  readonly #times = new Map<FileInfo, number>();
  #levels: Promise<Listing> | undefined;
  #legacy: Promise<LegacyListing> | undefined;

  constructor(client: ReplicaClient, options: CatalogOptions) {
    this.#client = client;
    this.#options = options;
  }

  /** True if exact times take a request each. */
  get #timesCost(): boolean {
    return this.#options.timed && this.#client.timeOf !== undefined;
  }

  /** Every level's files. Their times are exact only if that costs nothing. */
  levels(): Promise<Listing> {
    this.#levels ??= this.#list();
    return this.#levels;
  }

  async #list(): Promise<Listing> {
    const { damaged, timed, signal } = this.#options;
    const listing = await listAll(this.#client, {
      accurateTimes: timed && !this.#timesCost,
      signal,
      parallel: LISTINGS_AT_ONCE,
    });
    return damaged?.without(listing) ?? listing;
  }

  legacy(): Promise<LegacyListing> {
    this.#legacy ??= listLegacy(this.#client, { signal: this.#options.signal });
    return this.#legacy;
  }

  /** The exact time of a listed file, undefined if nobody has asked for it yet. */
  knownTime(file: FileInfo): number | undefined {
    return this.#timesCost ? this.#times.get(file) : file.createdAt;
  }

  /**
   * The files with their exact times.
   *
   * @throws LitestreamError `ERR_STORAGE_NOT_FOUND` if one of them has gone.
   */
  async timed(files: readonly FileInfo[]): Promise<FileInfo[]> {
    const { signal } = this.#options;
    const unknown = files.filter((file) => this.knownTime(file) === undefined);
    const asked = mapOrdered(unknown, TIMES_AT_ONCE, async (file) => {
      const time = await present(this.#client.timeOf?.(file, { signal }), 'exact time');
      this.#times.set(file, time);
    });
    for await (const _time of asked) throwIfAborted(signal);
    return files.map((file) => {
      const createdAt = this.knownTime(file) ?? file.createdAt;
      return createdAt === file.createdAt ? file : { ...file, createdAt };
    });
  }

  /** {@link levels} with exact times throughout. */
  async timedLevels(): Promise<Listing> {
    const levels = await this.levels();
    await this.timed(levels.flat());
    return await Promise.all(levels.map((files) => this.timed(files)));
  }
}
