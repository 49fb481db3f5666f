import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  decodeLtxFile,
  formatTxid,
  matchFileName,
  type LtxFile,
} from '../../../src/formats/ltx/index.ts';
import { errorMessage } from '../../../src/lib/errors.ts';
import type { MemoryObject } from '../../../src/testing/index.ts';
import type { Destination } from './engine.ts';
import { type History, imageKey } from './history.ts';
import { namesIn } from './sync-file-system.ts';
import { check, Violation } from './violation.ts';

/** What one place knows of one transaction. */
export interface Entry {
  readonly bytes: Uint8Array;
  readonly image: Buffer;
  readonly key: string;
  /** State of the application's history that it holds. */
  readonly index: number;
  /** The state that the file was applied to. */
  readonly base?: Buffer | undefined;
}

/** Applies one file to the state before it. */
function apply(base: Buffer | undefined, file: LtxFile, what: string): Buffer {
  const { commit, pageSize } = file.header;
  if (base === undefined || base.length === 0) {
    check(file.pages.length === commit, `${what} begins a history but does not hold every page`);
  }
  const image = Buffer.alloc(commit * pageSize);
  base?.copy(image, 0, 0, Math.min(base.length, image.length));
  for (const { pgno, data } of file.pages) {
    check(pgno <= commit, `${what} holds no page above its commit`);
    image.set(data, (pgno - 1) * pageSize);
  }
  const full = file.pages.length === commit;
  const before = base === undefined ? 0 : base.length / pageSize;
  for (let pgno = before + 1; pgno <= commit && !full; pgno++) {
    const held = file.pages.some((page) => page.pgno === pgno);
    check(held, `${what} holds page ${pgno} by which the database grew`);
  }
  return image;
}

/** One chain of level-0 files, applied file by file as they appear. */
export class Chain {
  readonly name: string;
  readonly entries: Map<bigint, Entry> = new Map<bigint, Entry>();
  tip = 0n;
  readonly #history: History;

  constructor(name: string, history: History) {
    this.name = name;
    this.#history = history;
  }

  /** Takes a new file; its state must be one of the application's, not older than the one before. */
  add(txid: bigint, bytes: Uint8Array, base: Entry | undefined): Entry {
    const what = `${this.name} ${formatTxid(txid)}`;
    const file = decode(bytes, what);
    check(file.header.minTxid === txid && file.header.maxTxid === txid, `${what} has its TXID`);
    const image = apply(base?.image, file, what);
    const key = imageKey(image);
    const from = base?.index ?? 0;
    const index = this.#history.findImage(image, key, from);
    const state = index === undefined ? undefined : this.#history.image(index);
    if (index === undefined || state === undefined) {
      const near = this.#history.explain(image, file.header.pageSize, from);
      const kind = `${file.pages.length} of ${file.header.commit} pages`;
      throw new Violation(`${what} (${kind}) is no committed state since ${from}: ${near}`);
    }
    // The state's own image: it is the same, and there are many.
    const entry = { bytes, image: state, key, index, base: base?.image };
    this.entries.set(txid, entry);
    if (txid > this.tip) this.tip = txid;
    return entry;
  }

  /** Takes over what another chain knows. */
  take(txid: bigint, entry: Entry): void {
    this.entries.set(txid, entry);
    this.tip = txid;
  }
}

function decode(bytes: Uint8Array, what: string): LtxFile {
  try {
    return decodeLtxFile(bytes);
  } catch (error) {
    throw new Violation(`${what} is not valid: ${errorMessage(error)}`);
  }
}

class RemoteChain extends Chain {
  readonly destination: Destination;
  readonly objects: Map<string, MemoryObject> = new Map<string, MemoryObject>();

  constructor(destination: Destination, history: History) {
    super(destination.name, history);
    this.destination = destination;
  }
}

/** Follows every file that the engine makes and checks it against the application's history. */
export class Ledger {
  readonly #level0: string;
  readonly #history: History;
  readonly local: Chain;
  readonly remotes: readonly RemoteChain[];
  #names = new Set<string>();
  /** What files that were damaged on purpose hold. */
  readonly damaged: Map<bigint, Uint8Array> = new Map<bigint, Uint8Array>();

  constructor(level0: string, history: History, destinations: readonly Destination[]) {
    this.#level0 = level0;
    this.#history = history;
    this.local = new Chain('local', history);
    this.remotes = destinations.map((each) => new RemoteChain(each, history));
  }

  /**
   * Looks at everything that has appeared since the last call.
   *
   * @param position - the engine's: newer files failed at the last moment and may be written once more.
   */
  follow(position: bigint): void {
    this.#followLocal(position);
    for (const remote of this.remotes) this.#followRemote(remote);
  }

  /** Local names are forgotten: whatever is there is looked at again. */
  forgetLocal(): void {
    this.#names = new Set();
  }

  /** The state that a TXID stands for must be as new as `index`. */
  expectAsNew(txid: bigint, index: number): void {
    const entry = this.local.entries.get(txid);
    check(entry !== undefined, `the file of ${formatTxid(txid)} is known`);
    const found = this.#history.find(entry.key, index);
    if (found !== undefined) return;
    throw new Violation(
      `synced up to ${formatTxid(txid)}, state ${entry.index}, but state ${index} was committed before`,
    );
  }

  #followLocal(position: bigint): void {
    const names = namesIn(this.#level0).filter((name) => name.endsWith('.ltx'));
    let previous: bigint | undefined;
    for (const name of names) {
      const txid = matchFileName(name)?.maxTxid;
      check(txid !== undefined, `${name} is the name of a level-0 file`);
      check(previous === undefined || txid === previous + 1n, `local files are dense at ${name}`);
      previous = txid;
      if (this.#names.has(name)) continue;
      const bytes = readFileSync(join(this.#level0, name));
      const damage = this.damaged.get(txid);
      if (damage !== undefined && Buffer.compare(damage, bytes) === 0) continue;
      const known = this.local.entries.get(txid);
      if (known !== undefined && Buffer.compare(known.bytes, bytes) === 0) continue;
      const anchor = this.#fetched(txid, bytes);
      if (anchor !== undefined) {
        this.local.take(txid, anchor);
        continue;
      }
      this.local.add(txid, bytes, this.#baseOf(txid));
      this.local.tip = txid;
    }
    this.#names = new Set(names.filter((name) => (matchFileName(name)?.maxTxid ?? 0n) <= position));
  }

  /** What a replica holds under this number, if it is this very file: the newest one is fetched where local files are behind. */
  #fetched(txid: bigint, bytes: Uint8Array): Entry | undefined {
    const known = this.local.entries.get(txid);
    if (known === undefined) return undefined;
    const copies = this.remotes.map(({ entries }) => entries.get(txid));
    return copies.find((entry) => entry !== undefined && Buffer.compare(entry.bytes, bytes) === 0);
  }

  /** The entry before a new local file: an anchor may have come from a replica. */
  #baseOf(txid: bigint): Entry | undefined {
    const local = this.local.entries.get(txid - 1n);
    if (local !== undefined) return local;
    for (const { entries } of this.remotes) {
      const entry = entries.get(txid - 1n);
      if (entry !== undefined) return entry;
    }
    return undefined;
  }

  #followRemote(remote: RemoteChain): void {
    const { store } = remote.destination.memory;
    if (store.size === remote.objects.size) return;
    const fresh = [...store].filter(([key, object]) => remote.objects.get(key) !== object);
    for (const [key, object] of fresh.toSorted(([a], [b]) => (a < b ? -1 : 1))) {
      const before = remote.objects.get(key);
      remote.objects.set(key, object);
      // A snapshot that bridges: what it gives is seen when it is restored.
      if (key.includes('ltx/9/')) continue;
      const txid = matchFileName(key.slice(key.lastIndexOf('/') + 1))?.maxTxid;
      check(txid !== undefined, `${key} has the name of a file`);
      if (before !== undefined) {
        const same = Buffer.compare(before.bytes, object.bytes) === 0;
        check(same, `${key} was replaced by other content`);
        continue;
      }
      this.#uploaded(remote, txid, object.bytes);
    }
  }

  #uploaded(remote: RemoteChain, txid: bigint, bytes: Uint8Array): void {
    const name = `${remote.name} ${formatTxid(txid)}`;
    const local = this.local.entries.get(txid);
    check(local !== undefined, `${name} was a local file`);
    check(Buffer.compare(local.bytes, bytes) === 0, `${name} has the bytes of the local file`);
    check(txid <= remote.tip + 1n, `${name} follows ${formatTxid(remote.tip)} without a gap`);
    const base = remote.entries.get(txid - 1n);
    // The same file on the same state, looked at already.
    if (base !== undefined && base.image === local.base && base.index <= local.index) {
      remote.take(txid, local);
    } else {
      remote.add(txid, bytes, base);
    }
  }
}
