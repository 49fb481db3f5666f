import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { TestContext } from 'node:test';
import { CaptureSession } from '../../src/engine/db/session.ts';
import type { Transaction } from '../../src/engine/db/transaction.ts';
import { WalCapture } from '../../src/engine/db/wal-capture.ts';
import type { LiveDatabase } from '../../src/sqlite/index.ts';
import { AppDatabase, type AppDatabaseOptions } from './app-database.ts';
import { openLive, pagesOf } from './engine.ts';
import { tempDir } from './temp-dir.ts';

/** What is known of a database from transactions alone: page n is at index n − 1. */
export class PageImage {
  pages: Uint8Array[] = [];

  /** Puts a transaction on top, as a restore would. */
  apply(transaction: Transaction | undefined, pageSize = 4096): void {
    if (transaction === undefined) return;
    for (let pgno = transaction.next(0); pgno !== 0; pgno = transaction.next(pgno)) {
      const page = new Uint8Array(pageSize);
      transaction.read(pgno, page);
      this.pages[pgno - 1] = page;
    }
    this.pages.length = transaction.commit;
  }
}

/** The pages that differ between two images, by number. */
export function differences(
  found: readonly (Uint8Array | undefined)[],
  expected: readonly Uint8Array[],
): number[] {
  const different: number[] = [];
  for (let at = 0; at < Math.max(found.length, expected.length); at++) {
    const [a, b] = [found[at], expected[at]];
    if (a === undefined || b === undefined || Buffer.compare(a, b) !== 0) different.push(at + 1);
  }
  return different;
}

/** An application's database and our custody of it. */
export interface Scene {
  readonly path: string;
  readonly app: AppDatabase;
  /** Another program: gives up at once where a lock is in the way. */
  readonly foreign: DatabaseSync;
  readonly live: LiveDatabase;
  readonly session: CaptureSession;
  readonly image: PageImage;
}

export interface SceneOptions extends AppDatabaseOptions {
  /** Done by the application before custody begins. */
  readonly before?: (app: AppDatabase, foreign: DatabaseSync) => void;
}

/** A connection of another program. */
export function foreignConnection(t: TestContext, path: string): DatabaseSync {
  const db = new DatabaseSync(path, { timeout: 0 });
  db.exec('PRAGMA wal_autocheckpoint = 0');
  t.after(() => {
    if (db.isOpen) db.close();
  });
  return db;
}

/** Custody has begun, nothing is captured. */
export function openScene(t: TestContext, options: SceneOptions = {}): Scene {
  const path = join(tempDir(t), 'app.db');
  const app = new AppDatabase(t, path, options);
  const foreign = foreignConnection(t, path);
  options.before?.(app, foreign);
  const live = openLive(t, path);
  const session = new CaptureSession(live, new WalCapture(live.wal(), live.pageSize), 0);
  return { path, app, foreign, live, session, image: new PageImage() };
}

/** Captures everything and puts it on the image. */
export async function follow({ session, image, live }: Scene, gather = false): Promise<void> {
  await session.captureNow({ limitBytes: 0, gather, yields: true });
  for (let next = session.freeze(); next !== undefined; next = session.freeze()) {
    image.apply(next, live.pageSize);
  }
}

/** Page numbers in which the image differs from the database now. */
export function wrongPages({ image, path, live }: Scene): number[] {
  return differences(image.pages, pagesOf(path, live.pageSize));
}

/** The answer of another program's checkpoint. */
export function foreignCheckpoint(
  db: DatabaseSync,
  mode: 'PASSIVE' | 'FULL' | 'RESTART' | 'TRUNCATE',
): { busy: number; log: number; checkpointed: number } {
  const row = db.prepare(`PRAGMA wal_checkpoint(${mode})`).get();
  return {
    busy: Number(row?.['busy']),
    log: Number(row?.['log']),
    checkpointed: Number(row?.['checkpointed']),
  };
}
