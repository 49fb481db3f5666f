import { SyncFileSystem } from '../sync-file-system.ts';

/** Tells of every file that gets its final name. */
export class WatchedFiles extends SyncFileSystem {
  onPublished: (path: string) => void = () => undefined;

  override async rename(label: string, from: string, to: string): Promise<void> {
    await super.rename(label, from, to);
    this.onPublished(to);
  }
}
