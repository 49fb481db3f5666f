import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { TestContext } from 'node:test';

/** The command under test. */
export const PROGRAM: string = fileURLToPath(new URL('../../bin/litestream', import.meta.url));

/** What a command left behind. */
export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A folder of its own, and the command run in it without any setting of this machine. */
export interface Sandbox {
  readonly folder: string;
  readonly run: (...args: readonly string[]) => Outcome;
}

/** Makes a sandbox that goes away with the test. The default configuration file in it does not exist. */
export function sandbox(context: TestContext): Sandbox {
  const folder = mkdtempSync(join(tmpdir(), 'litestream-cli-'));
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  return {
    folder,
    run(...args) {
      const done = spawnSync(PROGRAM, args, {
        cwd: folder,
        encoding: 'utf8',
        timeout: 60_000,
        env: {
          PATH: process.env['PATH'],
          HOME: folder,
          LITESTREAM_CONFIG: join(folder, 'absent.yml'),
        },
      });
      return { code: done.status, stdout: done.stdout, stderr: done.stderr };
    },
  };
}
