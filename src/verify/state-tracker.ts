import { formatTxid, LTX_NO_CHECKSUM } from '../formats/ltx/index.ts';
import type { FileInfo } from '../storage/index.ts';
import { fileText, type History, SNAPSHOT_LEVEL, txidRange } from './chain.ts';
import type { FileContent } from './file-content.ts';
import { PageDifference } from './level-window.ts';
import { PageMap } from './page-map.ts';
import { isWhole, PageState } from './page-state.ts';
import type { Finding, FindingKind, Severity, TxidRange } from './report.ts';

/** Differing pages of one snapshot that are kept to look for what they are. */
const SUSPECTS_MAX = 1 << 20;

const OPEN = 0;
const NEWER = 1;
const EXCUSED = 2;

/** A snapshot that is not what the increments up to it give. */
class Suspect {
  readonly file: FileInfo;
  readonly #pages = new PageMap();
  #beyond = 0;
  /** Size of the snapshot's database, as long as no later file explains it. */
  #commit: number | undefined;
  /** The next file reaches over the snapshot's TXID: what it changes may have changed before. */
  #straddled: boolean;
  /** End of the last file that explains something. */
  explainedBy = 0n;

  constructor(file: FileInfo, straddled: boolean) {
    this.file = file;
    this.#straddled = straddled;
  }

  addPage(pgno: number, sum: bigint): void {
    if (this.#pages.size < SUSPECTS_MAX) this.#pages.set(pgno, sum, OPEN);
    else this.#beyond++;
  }

  addCommit(commit: number): void {
    this.#commit = commit;
  }

  get isEmpty(): boolean {
    return this.#pages.size === 0 && this.#commit === undefined;
  }

  /** Looks at the next file of the history: what it says as the snapshot does was newer than the snapshot. */
  look(file: FileInfo, { pgnos, sums, summary }: FileContent): void {
    for (let index = 0; index < pgnos.length; index++) {
      const pgno = pgnos[index] ?? 0;
      const known = this.#pages.get(pgno);
      if (known?.tag !== OPEN) continue;
      if (this.#straddled) this.#pages.set(pgno, known.sum, EXCUSED);
      else if (known.sum === sums[index]) {
        this.#pages.set(pgno, known.sum, NEWER);
        this.explainedBy = file.maxTxid;
      }
    }
    this.#straddled = false;
    if (summary.header.commit !== this.#commit) return;
    this.#commit = undefined;
    this.explainedBy = file.maxTxid;
  }

  /** What nothing has explained: pages, or the size of the database. */
  get unexplained(): string | undefined {
    const pages = this.#tagged(OPEN);
    for (let rest = this.#beyond; rest > 0; rest--) pages.add(0);
    if (pages.count > 0) return pages.text;
    return this.#commit === undefined ? undefined : `a size of ${this.#commit} pages`;
  }

  /** What turned out to be newer. */
  get newer(): string | undefined {
    if (this.explainedBy === 0n) return undefined;
    const pages = this.#tagged(NEWER);
    return pages.count > 0 ? pages.text : 'their size';
  }

  #tagged(wanted: number): PageDifference {
    const found = new PageDifference();
    this.#pages.forEach((pgno, tag) => {
      if (tag === wanted) found.add(pgno);
    });
    return found;
  }
}

/** What {@link StateTracker} was told of one file. */
export interface TrackedFile {
  readonly file: FileInfo;
  readonly content: FileContent;
  /** A later file leads on from the present state and reaches over this file's end. */
  readonly straddled: boolean;
  /** The file was compared with those it was made of already. */
  readonly compared: boolean;
}

/**
 * Follows the state of the database through the files, in the order of their ends, by the finest steps there are, and compares every
 * file that ends where the state stands. Snapshots in the middle of a step are compared as far as that is possible.
 *
 * Snapshots of old releases may hold pages of later transactions; they are told apart from damage: failures RST-22.
 */
export class StateTracker {
  readonly #history: History;
  readonly #findings: Finding[];
  #state: PageState | undefined;
  #at = 0n;
  #incomplete = false;
  readonly #suspects: Suspect[] = [];

  constructor(history: History, findings: Finding[]) {
    this.#history = history;
    this.#findings = findings;
  }

  /** The state's TXID; 0 before the first. */
  get at(): bigint {
    return this.#at;
  }

  get state(): PageState | undefined {
    return this.#state;
  }

  /** Takes the next file; their ends must ascend. */
  add(tracked: TrackedFile): void {
    const { content, file } = tracked;
    const state = this.#state;
    if (file.level === SNAPSHOT_LEVEL && file.minTxid !== 1n) return;
    const connects = file.minTxid <= this.#at + 1n;
    if (state === undefined || (!connects && file.minTxid === 1n)) {
      if (file.minTxid === 1n) this.#rebase(file, content);
    } else if (file.maxTxid === this.#at) {
      this.#compare(state, tracked);
    } else if (file.maxTxid < this.#at || !connects) {
      return;
    } else if (file.level === SNAPSHOT_LEVEL) {
      if (tracked.straddled) this.#suspect(state, file, content, true);
      else this.#rebase(file, content);
    } else {
      this.#advance(state, file, content);
    }
  }

  /** Reports what no later file has explained. */
  end(): void {
    for (const suspect of this.#suspects) {
      const { newer, unexplained } = suspect;
      if (unexplained !== undefined) this.#reportSnapshot(suspect.file, unexplained);
      else if (newer !== undefined) this.#reportNewer(suspect, newer);
    }
  }

  #rebase(file: FileInfo, content: FileContent): void {
    const state = new PageState(content.summary.header.pageSize);
    state.apply(content);
    this.#state = state;
    this.#at = file.maxTxid;
    this.#checkSum(file, content, state, 'after');
    this.#checkComplete(file, state);
  }

  #advance(state: PageState, file: FileInfo, content: FileContent): void {
    const { pageSize } = content.summary.header;
    for (const suspect of this.#suspects) suspect.look(file, content);
    if (pageSize !== state.pageSize) {
      this.#changePageSize(state, file, content);
      return;
    }
    if (file.minTxid === this.#at + 1n) this.#checkSum(file, content, state, 'before');
    state.apply(content);
    this.#at = file.maxTxid;
    this.#checkSum(file, content, state, 'after');
    this.#checkComplete(file, state);
  }

  /** From here on only files behind the next snapshot lead anywhere. */
  #changePageSize(state: PageState, file: FileInfo, content: FileContent): void {
    const { pageSize } = content.summary.header;
    const whole = isWhole(content);
    const covered = this.#history.snapshotFrom(file.maxTxid) !== undefined;
    this.#report('page-size', whole && covered ? 'warning' : 'damage', file, {
      message: `the page size changes from ${state.pageSize} to ${pageSize} with ${fileText(file)}${whole ? '' : ', which does not hold all pages'}`,
    });
    if (whole) this.#rebase(file, content);
    else this.#state = undefined;
    this.#at = file.maxTxid;
  }

  #compare(state: PageState, { compared, content, file }: TrackedFile): void {
    if (file.level === SNAPSHOT_LEVEL) {
      this.#suspect(state, file, content, false);
      return;
    }
    const difference = differing(state, content);
    if (difference.count === 0 || compared) return;
    this.#report('differs', 'damage', file, {
      message: `${fileText(file)} is not what the other files give: ${difference.text}`,
    });
  }

  /** Notes the pages of a snapshot that are not those of the state. */
  #suspect(state: PageState, file: FileInfo, content: FileContent, straddled: boolean): void {
    const { commit, pageSize } = content.summary.header;
    const suspect = new Suspect(file, straddled);
    if (!straddled && commit !== state.commit) suspect.addCommit(commit);
    const { pgnos, sums } = content;
    for (let index = 0; index < pgnos.length; index++) {
      const pgno = pgnos[index] ?? 0;
      const sum = sums[index] ?? 0n;
      const expected = pageSize === state.pageSize ? state.sumOf(pgno) : 0n;
      const grown = !straddled && pgno > state.commit;
      if (expected === 0n ? grown || pageSize !== state.pageSize : expected !== sum) {
        suspect.addPage(pgno, sum);
      }
    }
    if (!suspect.isEmpty) this.#suspects.push(suspect);
  }

  #checkComplete(file: FileInfo, state: PageState): void {
    const { missing } = state;
    if (missing > 0 && !this.#incomplete) {
      this.#report('page-missing', 'damage', file, {
        message: `no file holds page ${state.firstMissing} of ${state.commit} (${missing} missing) at TXID ${formatTxid(file.maxTxid)}`,
        affected: this.#history.affectedFrom(file.maxTxid),
      });
    }
    this.#incomplete = missing > 0;
  }

  /** Files of other programs may carry checksums of the whole database. Spec: formats 2.12. */
  #checkSum(
    file: FileInfo,
    { summary }: FileContent,
    state: PageState,
    when: 'before' | 'after',
  ): void {
    const { header, trailer } = summary;
    if ((header.flags & LTX_NO_CHECKSUM) !== 0 || state.missing > 0) return;
    const stated = when === 'before' ? header.preApplyChecksum : trailer.postApplyChecksum;
    const found = state.checksum();
    if (stated === found) return;
    this.#report('checksum', 'damage', file, {
      message: `${fileText(file)} does not continue the files before it: database checksum ${when} it is ${formatTxid(found)}, it states ${formatTxid(stated)}`,
    });
  }

  #reportSnapshot(file: FileInfo, what: string): void {
    this.#report('snapshot-differs', 'damage', file, {
      message: `${fileText(file)} is not what the increments up to it give: ${what}`,
    });
  }

  #reportNewer({ explainedBy, file }: Suspect, what: string): void {
    this.#report('snapshot-newer', 'warning', file, {
      message: `${fileText(file)} holds pages of later transactions: ${what}; old releases of Litestream (up to v0.5.9) wrote such snapshots`,
      affected: txidRange(file.maxTxid, explainedBy - 1n),
      remedy: `restore to TXID ${formatTxid(explainedBy)} or later; restore points before it that begin with this snapshot mix two states`,
    });
  }

  #report(
    kind: FindingKind,
    severity: Severity,
    file: FileInfo,
    text: { message: string; remedy?: string; affected?: TxidRange },
  ): void {
    const history = this.#history;
    const affected = text.affected ?? history.affectedBy(file);
    this.#findings.push({
      kind,
      severity,
      message: text.message,
      level: file.level,
      range: txidRange(file.minTxid, file.maxTxid),
      affected,
      remedy: text.remedy ?? history.remedyFor(file),
    });
  }
}

/** Pages of a content that the state knows otherwise. */
function differing(state: PageState, content: FileContent): PageDifference {
  const difference = new PageDifference();
  const { header } = content.summary;
  if (header.pageSize !== state.pageSize || header.commit !== state.commit) difference.add(1);
  for (const [index, pgno] of content.pgnos.entries()) {
    const own = state.sumOf(pgno);
    if (own !== 0n && own !== content.sums[index]) difference.add(pgno);
  }
  return difference;
}
