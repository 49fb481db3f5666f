import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';

/** A new empty folder that goes away with the test. */
export function tempDir(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'litestream-test-'));
  t.after(() => {
    rmSync(path, { recursive: true, force: true, maxRetries: 5 });
  });
  return path;
}
