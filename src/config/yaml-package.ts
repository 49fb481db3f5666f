import { createRequire } from 'node:module';
import type * as Yaml from 'yaml';
import { present } from '../lib/assert.ts';

let loaded: typeof Yaml | undefined;

/** The package that reads YAML, loaded with the first file: commands that read none need not pay for it. */
export function yaml(): typeof Yaml {
  loaded ??= load();
  return loaded;
}

function isYaml(module: unknown): module is typeof Yaml {
  return typeof module === 'object' && module !== null && 'parseDocument' in module;
}

function load(): typeof Yaml {
  const module: unknown = createRequire(import.meta.url)('yaml');
  return present(isYaml(module) ? module : undefined, 'the package "yaml"');
}
