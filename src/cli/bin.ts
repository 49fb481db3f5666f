import module from 'node:module';
import { join } from 'node:path';
import process from 'node:process';

/**
 * Where compiled code is kept, so that a start and a new thread need neither strip types nor compile (120 ms become 40). Beside
 * the packages: only who may change the program may change this. Where it cannot be written nothing is kept.
 */
const COMPILED = join(import.meta.dirname, '../../node_modules/.cache/compiled');

const environment = { ...process.env };
if (environment['NODE_COMPILE_CACHE'] === undefined) {
  const { directory } = module.enableCompileCache(COMPILED);
  // Threads look here; child processes get the environment as it was.
  if (directory !== undefined) process.env['NODE_COMPILE_CACHE'] = directory;
}

const { main } = await import('./main.ts');
await main(environment);
