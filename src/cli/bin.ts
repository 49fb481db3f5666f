#!/usr/bin/env node
import module from 'node:module';
import { join } from 'node:path';
import { loadNow } from './load-now.ts';

/** The oldest Node.js this runs on. Nothing newer may be used before it is checked. */
const NEEDED: readonly [major: number, minor: number] = [24, 15];

const COMPILED = join(import.meta.dirname, '../../node_modules/.cache/compiled');

/**
 * Keeps compiled code, so that a start and a new thread need neither strip types nor compile (120 ms become 40). Inside
 * the package: only who may change the program may change this. Where it cannot be written nothing is kept.
 */
function keepCompiledCode(): void {
  const { directory } = module.enableCompileCache(COMPILED);
  // Threads look here; child processes get the environment as it was.
  if (directory !== undefined) process.env['NODE_COMPILE_CACHE'] = directory;
}

const { node: version } = process.versions;
const [major = 0, minor = 0] = version.split('.').map(Number);
if (major < NEEDED[0] || (major === NEEDED[0] && minor < NEEDED[1])) {
  process.stderr.write(
    `Error: Node.js ${NEEDED.join('.')} or newer is needed, this is ${version}.\n`,
  );
  process.stderr.write('Try: npx -p node@24 -p litestream-ts litestream …\n');
  process.exit(1);
}
const environment = { ...process.env };
// `bin/litestream` has set it, for this file's sake.
if (environment['NODE_COMPILE_CACHE'] === COMPILED) delete environment['NODE_COMPILE_CACHE'];
else if (environment['NODE_COMPILE_CACHE'] === undefined) keepCompiledCode();
loadNow('main');
const { main } = await import('./main.ts');
await main(environment);
