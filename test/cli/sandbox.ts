import type { TestContext } from 'node:test';
import { inFolder, runProgram } from '../support/program.ts';
import { tempDir } from '../support/temp-dir.ts';

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
  const folder = tempDir(context);
  return {
    folder,
    run(...args) {
      const { status, stdout, stderr } = runProgram(inFolder(folder), ...args);
      return { code: status, stdout, stderr };
    },
  };
}
