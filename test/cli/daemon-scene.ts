/** A daemon beside an application, and what it tells over HTTP. */
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { TestContext } from 'node:test';
import { get } from '../support/http.ts';
import { Daemon, inFolder } from '../support/program.ts';
import { tempDir } from '../support/temp-dir.ts';

/** A folder with databases and a configuration, and daemons in it. */
export interface Scene {
  readonly folder: string;
  readonly application: (name?: string) => DatabaseSync;
  /** Starts `litestream replicate` with this configuration. */
  readonly replicate: (text: string, env?: Readonly<Record<string, string>>) => Daemon;
}

export function scene(t: TestContext): Scene {
  const folder = tempDir(t);
  return {
    folder,
    application(name = 'app.db') {
      const database = new DatabaseSync(join(folder, name), { timeout: 5000 });
      t.after(() => database.isOpen && database.close());
      database.exec('PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (x)');
      return database;
    },
    replicate(text, env) {
      const config = join(folder, 'litestream.yml');
      writeFileSync(config, text);
      return new Daemon(t, inFolder(folder, env), 'replicate', '-config', config);
    },
  };
}

/** One transaction per row. */
export function insert(database: DatabaseSync, rows: number): void {
  const statement = database.prepare('INSERT INTO t VALUES (randomblob(2000))');
  for (let row = 0; row < rows; row++) statement.run();
}

/** Where a daemon answers. */
export async function baseOf(daemon: Daemon): Promise<string> {
  const line = await daemon.line(/serving metrics on/);
  return /url=(\S+)\/metrics/.exec(line)?.[1] ?? '';
}

/** The metrics' values by series. */
export async function scrape(base: string): Promise<Record<string, number>> {
  const { text } = await get(`${base}/metrics`);
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return Object.fromEntries(
    lines.map((line) => {
      const at = line.lastIndexOf(' ');
      return [line.slice(0, at), Number(line.slice(at + 1))];
    }),
  );
}

/** Every access fails while a plain file stands in the place of the replica's folder. */
export function breakReplica(folder: string): void {
  renameSync(folder, `${folder}.away`);
  writeFileSync(folder, 'not a folder');
}

/** Ends {@link breakReplica}. */
export function mendReplica(folder: string): void {
  rmSync(folder);
  renameSync(`${folder}.away`, folder);
}
