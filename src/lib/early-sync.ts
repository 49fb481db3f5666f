import type { OpenFile } from './file-system.ts';

/** Written bytes between two syncs. */
const EVERY_BYTES = 32 * 1024 * 1024;

/**
 * Lets the disk work while a large file is still being written, so that the fsync at its end has little left to do. One sync runs at
 * a time, nobody waits for it; its failure is thrown by the next call, because the system may not report it again.
 */
export class EarlySync {
  readonly #file: OpenFile;
  readonly #label: string;
  #unsynced = 0;
  #running: Promise<void> | undefined;
  #failure: { readonly error: unknown } | undefined;

  /** @param label - of the file operation */
  constructor(file: OpenFile, label: string) {
    this.#file = file;
    this.#label = label;
  }

  /** Counts bytes that were written. @throws what an earlier sync failed with */
  note(bytes: number): void {
    if (this.#failure !== undefined) throw this.#failure.error;
    this.#unsynced += bytes;
    if (this.#unsynced < EVERY_BYTES || this.#running !== undefined) return;
    this.#unsynced = 0;
    this.#running = this.#sync();
  }

  /** Waits for a sync that is running: the file must not be closed before. @throws what a sync failed with */
  async settle(): Promise<void> {
    await this.#running;
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  async #sync(): Promise<void> {
    try {
      await this.#file.sync(this.#label);
    } catch (error) {
      this.#failure = { error };
    } finally {
      this.#running = undefined;
    }
  }
}
