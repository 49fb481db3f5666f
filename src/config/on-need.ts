import type { LoadedConfig, LoadOptions } from './load.ts';

/**
 * As `loadConfig` of `load.ts`, which is loaded only now: a command that is given URLs reads no file, and needs nothing of what decodes and
 * validates one.
 */
export async function loadConfig(path: string, options: LoadOptions): Promise<LoadedConfig> {
  const { loadConfig: load } = await import('./load.ts');
  return await load(path, options);
}
