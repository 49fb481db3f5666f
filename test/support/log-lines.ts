/** Why a transaction with every page was written, as the daemon's log says. */
export interface FullLine {
  readonly txid: number;
  readonly reason: string;
}

/** Lines about full transactions behind a database's first. */
export function parseFullLines(log: string): FullLine[] {
  const lines = log.matchAll(
    /msg="writing the whole database".* txid=([0-9a-f]+) reason=(?:"([^"]*)"|(\S+))/g,
  );
  return Array.from(lines, ([, txid = '', quoted, bare]) => ({
    txid: Number.parseInt(txid, 16),
    reason: quoted ?? bare ?? '',
  }));
}
