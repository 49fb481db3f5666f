import { describe, it } from 'node:test';

function requiredSuites(): readonly string[] {
  // oxlint-disable-next-line node/no-process-env, no-restricted-globals -- the switch of a test run, not of the program
  const names = process.env['LITESTREAM_TEST_REQUIRED'] ?? '';
  return names.split(',').map((name) => name.trim());
}

/**
 * Registers a suite that cannot run here. It is reported as skipped, or as failed if `LITESTREAM_TEST_REQUIRED`, a list of
 * names with commas between them, contains its name or `all`.
 */
export function skipSuite(name: string, reason: string): void {
  const required = requiredSuites();
  const skip = required.includes(name) || required.includes('all') ? false : reason;
  void describe(name, () => {
    void it('can run here', { skip }, () => {
      throw new Error(`suite "${name}" is required and cannot run: ${reason}`);
    });
  });
}
