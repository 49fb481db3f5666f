import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
/** Of sources and of the build. */
const EXTENSION = import.meta.url.endsWith('.ts') ? 'ts' : 'js';

/**
 * Loads a module of this folder and all that it imports, in one go; an `import` of it finds it loaded. Alone, an `import` hands every
 * single file to a thread and takes it back, which is most of the time that a short command takes on a busy machine. What cannot be
 * loaded this way says so when it is imported.
 *
 * @param name - path below this folder, without extension
 */
export function loadNow(name: string): void {
  try {
    require(`./${name}.${EXTENSION}`);
  } catch {
    // The import throws it again.
  }
}
