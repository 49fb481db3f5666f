/**
 * Makes what is published: `node tools/build.ts` compiles `src/` to `dist/`.
 *
 * Development and tests run the sources; Node strips no types below `node_modules`, so the package has to ship JavaScript.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { configJsonSchema } from '../src/config/json-schema.ts';

const ROOT = dirname(import.meta.dirname);

/** Compiles into a folder, which is emptied first. */
export function build(folder: string): void {
  rmSync(folder, { recursive: true, force: true });
  const compiler = join(ROOT, 'node_modules/.bin/tsc');
  const args = ['-p', join(ROOT, 'tsconfig.build.json'), '--outDir', folder];
  const { status, error } = spawnSync(compiler, args, { stdio: 'inherit' });
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`tsc ended with ${status}`);
  const schema = `${JSON.stringify(configJsonSchema(), undefined, 2)}\n`;
  writeFileSync(join(folder, 'litestream.schema.json'), schema);
  chmodSync(join(folder, 'cli/bin.js'), 0o755);
}

if (import.meta.main) build(join(ROOT, 'dist'));
