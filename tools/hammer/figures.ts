import type { WriterStats } from '../../test/support/application.ts';
import type { LifeReport } from './daemon.ts';

export interface Sample {
  /** Bytes. */
  readonly wal: number;
  /** Since the daemon was started. */
  readonly upMs: number;
  /** Bytes of the database file. */
  readonly size: number;
  readonly txid: number;
  /** MiB. */
  readonly rss?: number;
  readonly descriptors?: number;
}

/** What a run comes to. */
export class Figures {
  starts = 0;
  comparisons = 0;
  checkpoints = 0;
  /** Of the replicas before the present one. */
  txids = 0;
  writers: readonly WriterStats[] = [];
  readonly #startedAt = performance.now();
  readonly #reasons = new Map<string, number>();
  readonly #complaints = new Map<string, number>();
  readonly #unexplained: string[] = [];
  readonly #ends = { SIGKILL: 0, SIGTERM: 0 };
  readonly #most = { wal: 0, size: 0, rss: 0, descriptors: 0 };
  /** How long the daemon had been running when the WAL was largest. */
  #walUpMs = 0;
  #last: Sample = { wal: 0, upMs: 0, size: 0, txid: 0 };

  sample(sample: Sample): void {
    this.#last = sample;
    if (sample.wal > this.#most.wal) this.#walUpMs = sample.upMs;
    for (const key of ['wal', 'size', 'rss', 'descriptors'] as const) {
      this.#most[key] = Math.max(this.#most[key], sample[key] ?? 0);
    }
  }

  note(report: LifeReport, signal: 'SIGKILL' | 'SIGTERM'): void {
    this.#ends[signal] += 1;
    for (const { reason } of report.full) count(this.#reasons, reason);
    for (const complaint of report.complaints) count(this.#complaints, complaint);
    for (const { txid, reason } of report.unexplained) {
      this.#unexplained.push(`TXID ${txid}: ${reason}`);
    }
  }

  roundLine(round: number): string {
    const { wal, size, rss = 0, descriptors = 0, txid } = this.#last;
    const seconds = Math.round((performance.now() - this.#startedAt) / 1000);
    return (
      `round ${round}, ${seconds} s: TXID ${txid}, ${this.starts} starts, ${this.#commits()} commits, ` +
      `database ${mib(size)}, wal ${mib(wal)}, rss ${Math.round(rss)} MiB, ${descriptors} descriptors`
    );
  }

  /** What is wrong although every comparison succeeded. */
  failure(): string | undefined {
    const locked = this.#locked();
    if (this.#unexplained.length > 0) {
      return `full transactions without a cause: ${this.#unexplained.join('; ')}`;
    }
    if (locked > 0) return `writers met ${locked} times 'database is locked'`;
    return this.comparisons === 0 ? 'nothing was compared' : undefined;
  }

  table(): string {
    const longest = Math.max(0, ...this.writers.map((writer) => writer.longestMs));
    const rows: [string, string][] = [
      ['comparisons, all equal', String(this.comparisons)],
      ['commits', this.writers.map(({ commits }) => commits).join(' + ')],
      ['foreign checkpoints', String(this.checkpoints)],
      ['TXIDs', String(this.txids + this.#last.txid)],
      [
        'daemon starts',
        `${this.starts} (${this.#ends.SIGKILL} killed, ${this.#ends.SIGTERM} stopped)`,
      ],
      ['longest transaction', `${Math.round(longest)} ms`],
      ['database is locked', String(this.#locked())],
      ['largest WAL', `${mib(this.#most.wal)}, ${Math.round(this.#walUpMs)} ms after a start`],
      ['largest database', mib(this.#most.size)],
      [
        'RSS, most and last',
        `${Math.round(this.#most.rss)}, ${Math.round(this.#last.rss ?? 0)} MiB`,
      ],
      ['descriptors, most and last', `${this.#most.descriptors}, ${this.#last.descriptors ?? 0}`],
      ['unexplained full transactions', String(this.#unexplained.length)],
      ...list('full', this.#reasons),
      ...list('said', this.#complaints),
    ];
    const width = Math.max(...rows.map(([name]) => name.length));
    return rows.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join('\n');
  }

  #commits(): number {
    return this.writers.reduce((sum, { commits }) => sum + commits, 0);
  }

  #locked(): number {
    return this.writers.reduce((sum, { locked }) => sum + locked, 0);
  }
}

function count(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

function list(kind: string, counts: ReadonlyMap<string, number>): [string, string][] {
  return Array.from(counts, ([text, number]) => [`${kind}: ${text}`, String(number)]);
}

function mib(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}
