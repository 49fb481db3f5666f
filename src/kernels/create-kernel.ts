import { present } from '../lib/assert.ts';
import { basicModule } from './basic-wasm.ts';
import type { Kernel, KernelKind, KernelOptions } from './kernel.ts';
import { simdModule } from './simd-wasm.ts';
import { TypeScriptKernel } from './typescript-kernel.ts';
import { WasmKernel } from './wasm-kernel.ts';

/** Modules compile once per thread, when the first kernel is created. */
const compiled = new Map<KernelKind, WebAssembly.Module | undefined>();

function decode(base64: string): Uint8Array {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

function compile(base64: string): WebAssembly.Module | undefined {
  // `--jitless` removes the global; a content policy makes compilation throw.
  if (typeof WebAssembly === 'undefined') return undefined;
  try {
    const bytes = decode(base64);
    return WebAssembly.validate(bytes) ? new WebAssembly.Module(bytes) : undefined;
  } catch {
    return undefined;
  }
}

function moduleOf(kind: 'wasm-simd' | 'wasm'): WebAssembly.Module | undefined {
  if (!compiled.has(kind)) {
    compiled.set(kind, compile(kind === 'wasm-simd' ? simdModule : basicModule));
  }
  return compiled.get(kind);
}

/** The best implementation this engine runs. Compiles the module on the first call (about a millisecond). */
export function kernelKind(): KernelKind {
  if (moduleOf('wasm-simd') !== undefined) return 'wasm-simd';
  return moduleOf('wasm') === undefined ? 'typescript' : 'wasm';
}

/**
 * Creates a kernel with a memory of its own.
 *
 * @param kind - forces an implementation, for tests; without it the best one this engine runs.
 * @throws LitestreamError `ERR_ASSERTION` if the memory is too small or the forced kind does not run here. A RangeError of
 * the engine if there is no memory.
 */
export function createKernel(options: KernelOptions, kind: KernelKind = kernelKind()): Kernel {
  if (kind === 'typescript') return new TypeScriptKernel(options);
  return new WasmKernel(kind, present(moduleOf(kind), `the ${kind} module`), options);
}
