import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { buildKernel, kernelNames } from '../../tools/build-kernels.ts';

const committed = fileURLToPath(new URL('../../src/kernels', import.meta.url));

for (const name of kernelNames) {
  test(`the committed ${name} kernel is what its sources compile to`, () => {
    const folder = mkdtempSync(join(tmpdir(), 'litestream-kernels-'));
    try {
      buildKernel(name, folder);
      for (const file of [`${name}.wasm`, `${name}-wasm.ts`]) {
        const same = readFileSync(join(folder, file)).equals(readFileSync(join(committed, file)));
        assert.ok(same, `${file} is stale: run node tools/build-kernels.ts`);
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
}
