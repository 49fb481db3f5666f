/** `npm run bench [-- NAME…]`: runs the benchmarks (bench/NAME.bench.ts) one after the other, each in a process of its own. */
import { spawnSync } from 'node:child_process';
import { globSync } from 'node:fs';
import { basename, dirname } from 'node:path';

const names = new Set(process.argv.slice(2));
const files = globSync('bench/**/*.bench.ts', { cwd: dirname(import.meta.dirname) })
  .toSorted()
  .filter((file) => names.size === 0 || names.has(basename(file, '.bench.ts')));
if (files.length === 0) throw new Error('no such benchmark in bench/');

for (const file of files) {
  process.stdout.write(`\n== ${file}\n`);
  const { status } = spawnSync(process.execPath, ['--expose-gc', file], {
    cwd: dirname(import.meta.dirname),
    stdio: 'inherit',
  });
  if (status !== 0) process.exitCode = 1;
}
