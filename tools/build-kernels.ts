import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * Compiles src/kernels/assembly to WebAssembly, once with and once without SIMD. Each build gives two files with the same
 * bytes: `NAME.wasm`, and `NAME-wasm.ts` in base64, because importing a `.wasm` file prints a warning and `kernels/` reads
 * no files. Both are committed; a test rebuilds and compares them.
 *
 * Run: node tools/build-kernels.ts
 */

const root = fileURLToPath(new URL('..', import.meta.url));

export const kernelNames = ['simd', 'basic'] as const;

export type KernelName = (typeof kernelNames)[number];

/** Compiles one build into `folder`. Throws with the compiler's output if that fails. */
export function buildKernel(name: KernelName, folder: string): void {
  const output = join(folder, `${name}.wasm`);
  const result = spawnSync(
    process.execPath,
    [
      join(root, 'node_modules/assemblyscript/bin/asc.js'),
      'src/kernels/assembly/index.ts',
      `--outFile=${output}`,
      '-O3',
      '--converge',
      '--noAssert',
      '--runtime=stub',
      '--importMemory',
      '--use=abort=',
      name === 'simd' ? '--enable=simd' : '--disable=simd',
    ],
    { cwd: root, encoding: 'utf8' },
  );
  if (result.status !== 0) throw new Error(`asc failed:\n${result.stdout}${result.stderr}`);
  writeFileSync(join(folder, `${name}-wasm.ts`), wrap(name, readFileSync(output)));
}

function wrap(name: KernelName, bytes: Buffer): string {
  const lines = bytes.toString('base64').match(/.{1,110}/g) ?? [];
  return [
    '// Built by tools/build-kernels.ts from src/kernels/assembly. Do not edit.',
    `export const ${name}Module: string =`,
    `${lines.map((line) => `  '${line}'`).join(' +\n')};`,
    '',
  ].join('\n');
}

if (import.meta.main) {
  const folder = join(root, 'src/kernels');
  mkdirSync(folder, { recursive: true });
  for (const name of kernelNames) buildKernel(name, folder);
}
