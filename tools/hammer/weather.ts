import { spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';

const CLOCK_LIBRARIES = [
  '/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1',
  '/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1',
];
const BALLAST = Buffer.alloc(1 << 20, 1);

export interface WeatherOptions {
  readonly folder: string;
  readonly replica: string;
  readonly meta: string;
  readonly random: () => number;
}

/** What befalls the daemon from outside: a store that is gone, full disks, a clock that is set. */
export class Weather {
  readonly #options: WeatherOptions;
  readonly #clockFile: string;
  readonly #library = CLOCK_LIBRARIES.find((path) => existsSync(path));
  readonly #mounted: string[] = [];
  /** Undoes what is going on. */
  #over: (() => void) | undefined;
  readonly counts: Map<string, number> = new Map<string, number>();

  constructor(options: WeatherOptions) {
    this.#options = options;
    this.#clockFile = join(options.folder, 'clock');
    this.#mount(options.meta, '512m');
    this.#mount(join(options.replica, '..'), '4g');
    writeFileSync(this.#clockFile, '+0s\n');
  }

  /** For the daemon: its wall clock follows the file, if the library is installed. */
  get environment(): Readonly<Record<string, string>> {
    if (this.#library === undefined) return {};
    return {
      LD_PRELOAD: this.#library,
      FAKETIME_TIMESTAMP_FILE: this.#clockFile,
      FAKETIME_NO_CACHE: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
      DONT_FAKE_MONOTONIC: '1',
    };
  }

  /** Begins something, or ends what is going on. */
  change(): void {
    if (this.#over !== undefined) {
      this.clear();
      return;
    }
    const { replica, meta, random } = this.#options;
    const kinds: (readonly [string, () => () => void])[] = [
      ['store gone', () => gone(replica)],
      ['replica disk full', () => this.#fill(join(replica, '..'))],
      ['metadata disk full', () => this.#fill(meta)],
    ];
    if (this.#library !== undefined) kinds.push(['clock set', () => this.#setClock()]);
    const kind = kinds[Math.floor(random() * kinds.length)];
    if (kind === undefined) return;
    const [name, begin] = kind;
    this.counts.set(name, (this.counts.get(name) ?? 0) + 1);
    this.#over = begin();
  }

  /** Ends what is going on. */
  clear(): void {
    this.#over?.();
    this.#over = undefined;
  }

  end(): void {
    this.clear();
    for (const folder of this.#mounted) spawnSync('umount', ['-l', folder]);
  }

  get table(): string {
    const counts = [...this.counts].map(([name, count]) => `${count} × ${name}`).join(', ');
    return `faults: ${counts}`;
  }

  /** Up to two hours off, forwards or backwards; it stays so. */
  #setClock(): () => void {
    const seconds = Math.round((this.#options.random() - 0.5) * 14_400);
    writeFileSync(this.#clockFile, `${seconds < 0 ? '' : '+'}${seconds}s\n`);
    return () => undefined;
  }

  #fill(folder: string): () => void {
    if (!this.#mounted.includes(folder)) return () => undefined;
    const path = join(folder, 'ballast');
    const fd = openSync(path, 'w');
    try {
      for (;;) writeSync(fd, BALLAST);
    } catch {
      // Full.
    }
    closeSync(fd);
    return () => rmSync(path, { force: true });
  }

  /** A disk of its own where that is allowed. */
  #mount(folder: string, size: string): void {
    mkdirSync(folder, { recursive: true });
    const done = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', folder]);
    if (done.status === 0) this.#mounted.push(folder);
  }
}

function gone(replica: string): () => void {
  if (!existsSync(replica)) return () => undefined;
  renameSync(replica, `${replica}.away`);
  writeFileSync(replica, 'not a folder');
  return () => {
    rmSync(replica);
    renameSync(`${replica}.away`, replica);
  };
}
