/** Entries kept; beyond, only every second, fourth, eighth … transaction is noted. */
const ENTRIES_MAX = 1024;

/**
 * When transactions became durable here, for as long as a replica may lack them: how old what is missing there is. Bounded; a long
 * outage makes the times coarser, never younger than the next one known.
 *
 * Times are milliseconds of the monotonic clock.
 */
export class PublishTimes {
  #entries: { readonly txid: bigint; readonly at: number }[] = [];
  #stride = 1n;

  /** Notes a transaction; its TXID is above all noted before, or they are forgotten. */
  note(txid: bigint, at: number): void {
    const last = this.#entries.at(-1);
    if (last === undefined || last.txid >= txid) {
      this.#entries = [{ txid, at }];
      this.#stride = 1n;
      return;
    }
    if (txid - last.txid < this.#stride) return;
    this.#entries.push({ txid, at });
    if (this.#entries.length <= ENTRIES_MAX) return;
    this.#entries = this.#entries.filter((_, index) => index % 2 === 0);
    this.#stride *= 2n;
  }

  /** Notes the oldest transaction of an earlier run that a replica lacks. */
  noteOld(txid: bigint, at: number): void {
    const [first] = this.#entries;
    if (first === undefined || txid < first.txid) this.#entries.unshift({ txid, at });
  }

  /** When the first transaction above `txid` became durable; undefined if none is known. */
  firstAbove(txid: bigint): number | undefined {
    return this.#entries.find((entry) => entry.txid > txid)?.at;
  }

  /** Every replica has everything up to here. */
  trim(txid: bigint): void {
    let gone = 0;
    while ((this.#entries[gone]?.txid ?? txid + 1n) <= txid) gone++;
    if (gone > 0) this.#entries.splice(0, gone);
  }
}
