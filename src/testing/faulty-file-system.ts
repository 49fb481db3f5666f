import type { FileTime } from '../lib/exact-times.ts';
import type { FileStat, FileSystem, OpenFile, OpenMode, Ownership } from '../lib/file-system.ts';
import { osError } from '../lib/os-error.ts';

/** What every call throws after a simulated power cut or `kill -9`. No `LitestreamError`: nobody may handle it. */
export class SimulatedCrash extends Error {
  override readonly name = 'SimulatedCrash';
}

/** When a fault strikes. */
export interface FaultPoint {
  /** The label given by the caller (`file:rename`); `close` for closing files. Absent: any. */
  readonly label?: string | undefined;
  /** The n-th matching call from now on. Default 1. */
  readonly nth?: number | undefined;
  /** True: the operation is carried out and its answer lost. Default false. */
  readonly after?: boolean | undefined;
}

interface Fault {
  readonly point: FaultPoint;
  /** Undefined = crash. */
  readonly errno: string | undefined;
  left: number;
}

/**
 * A file system that fails, or dies, at a chosen call. Records the labels it has seen, so that a test can run once without
 * faults and then once for each call.
 */
export class FaultyFileSystem implements FileSystem {
  readonly #inner: FileSystem;
  #faults: Fault[] = [];
  #calls: string[] = [];
  #crashed = false;

  constructor(inner: FileSystem) {
    this.#inner = inner;
  }

  /** Labels of all calls in order. */
  get calls(): readonly string[] {
    return this.#calls;
  }

  get crashed(): boolean {
    return this.#crashed;
  }

  /** One call fails with this system error (`EIO`, `ENOSPC`, …). */
  fail(errno: string, point: FaultPoint = {}): void {
    this.#faults.push({ point, errno, left: point.nth ?? 1 });
  }

  /** At one call the process dies: that call and every later one throws {@link SimulatedCrash}. */
  crash(point: FaultPoint = {}): void {
    this.#faults.push({ point, errno: undefined, left: point.nth ?? 1 });
  }

  /** Forgets faults, the crash and the recorded calls. */
  reset(): void {
    this.#faults = [];
    this.#calls = [];
    this.#crashed = false;
  }

  async open(label: string, path: string, mode: OpenMode, permissions?: number): Promise<OpenFile> {
    let opened: OpenFile | undefined;
    const call = async (): Promise<OpenFile> => {
      opened = await this.#inner.open(label, path, mode, permissions);
      return opened;
    };
    try {
      return new FaultyFile(this, await this.run(label, path, call), path);
    } catch (error) {
      // The answer is lost, not the descriptor.
      await opened?.close();
      throw error;
    }
  }

  link(label: string, from: string, to: string): Promise<void> {
    return this.run(label, `${from} ${to}`, () => this.#inner.link(label, from, to));
  }

  rename(label: string, from: string, to: string): Promise<void> {
    return this.run(label, `${from} ${to}`, () => this.#inner.rename(label, from, to));
  }

  remove(label: string, path: string): Promise<void> {
    return this.run(label, path, () => this.#inner.remove(label, path));
  }

  removeTree(label: string, path: string): Promise<void> {
    return this.run(label, path, () => this.#inner.removeTree(label, path));
  }

  list(label: string, path: string): Promise<string[]> {
    return this.run(label, path, () => this.#inner.list(label, path));
  }

  stat(label: string, path: string): Promise<FileStat | undefined> {
    return this.run(label, path, () => this.#inner.stat(label, path));
  }

  makeDirectory(label: string, path: string, owner?: Ownership): Promise<void> {
    return this.run(label, path, () => this.#inner.makeDirectory(label, path, owner));
  }

  syncDirectory(label: string, path: string): Promise<void> {
    return this.run(label, path, () => this.#inner.syncDirectory(label, path));
  }

  copy(label: string, from: string, to: string): Promise<void> {
    return this.run(label, `${from} ${to}`, () => this.#inner.copy(label, from, to));
  }

  freeBytes(label: string, path: string): Promise<number> {
    return this.run(label, path, () => this.#inner.freeBytes(label, path));
  }

  /** Neither recorded nor failed: it runs in the background at a time that no test can count on. */
  async setExactTimes(label: string, entries: readonly FileTime[]): Promise<void> {
    if (!this.#crashed) await this.#inner.setExactTimes(label, entries);
  }

  /** Carries out one call, or the fault that is due. */
  async run<T>(label: string, path: string, call: () => Promise<T>): Promise<T> {
    this.throwIfCrashed();
    this.#calls.push(label);
    const fault = this.#due(label);
    if (fault === undefined) {
      const result = await call();
      // Another call may have died meanwhile.
      this.throwIfCrashed();
      return result;
    }
    if (fault.point.after === true) await call();
    if (fault.errno === undefined) {
      this.#crashed = true;
      this.throwIfCrashed();
    }
    const { errno = 'EIO' } = fault;
    throw osError(label, path, Object.assign(new Error(errno), { code: errno }));
  }

  throwIfCrashed(): void {
    if (this.#crashed) throw new SimulatedCrash('the process has died');
  }

  #due(label: string): Fault | undefined {
    let due: Fault | undefined;
    for (const fault of this.#faults) {
      if (fault.point.label !== undefined && fault.point.label !== label) continue;
      fault.left--;
      if (fault.left === 0) due ??= fault;
    }
    this.#faults = this.#faults.filter(({ left }) => left > 0);
    return due;
  }
}

class FaultyFile implements OpenFile {
  readonly #owner: FaultyFileSystem;
  readonly #inner: OpenFile;
  readonly #path: string;

  constructor(owner: FaultyFileSystem, inner: OpenFile, path: string) {
    this.#owner = owner;
    this.#inner = inner;
    this.#path = path;
  }

  get fd(): number {
    return this.#inner.fd;
  }

  read(label: string, target: Uint8Array, position: number): Promise<number> {
    return this.#owner.run(label, this.#path, () => this.#inner.read(label, target, position));
  }

  write(label: string, bytes: Uint8Array, position: number, hint?: 'direct'): Promise<void> {
    return this.#owner.run(label, this.#path, () =>
      this.#inner.write(label, bytes, position, hint),
    );
  }

  sync(label: string): Promise<void> {
    return this.#owner.run(label, this.#path, () => this.#inner.sync(label));
  }

  truncate(label: string, size: number): Promise<void> {
    return this.#owner.run(label, this.#path, () => this.#inner.truncate(label, size));
  }

  setTimes(label: string, ms: number): Promise<void> {
    return this.#owner.run(label, this.#path, () => this.#inner.setTimes(label, ms));
  }

  setOwner(label: string, owner: Ownership): Promise<void> {
    return this.#owner.run(label, this.#path, () => this.#inner.setOwner(label, owner));
  }

  stat(label: string): Promise<FileStat> {
    return this.#owner.run(label, this.#path, () => this.#inner.stat(label));
  }

  /** The descriptor is always given back: even a dead process holds none. */
  async close(): Promise<void> {
    try {
      await this.#owner.run('close', this.#path, () => Promise.resolve());
    } finally {
      await this.#inner.close();
    }
  }
}
