import { platform } from 'node:os';
import { systemClock, type Clock, sleep } from './clock.ts';
import { osErrorCode } from './os-error.ts';

/** What Windows answers while somebody, a virus scanner for example, has the file open. */
const IN_USE: ReadonlySet<string> = new Set(['EACCES', 'EBUSY', 'EPERM']);
const FIRST_WAIT_MS = 10;
/** Waits double; with the last one about 1.3 s have passed. */
const ATTEMPTS = 8;

/** Where a file that is open can be neither renamed nor removed. */
export interface OpenFileRules {
  readonly platform: NodeJS.Platform;
  readonly clock: Clock;
}

/**
 * Renames or removes a file. On Windows a file that is open refuses both, as a rule for a moment only: the operation is repeated there.
 * Elsewhere these errors are final. Spec: failures NODE-12.
 */
export async function whileOpen<T>(
  operation: () => Promise<T>,
  rules: OpenFileRules = { platform: platform(), clock: systemClock },
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await operation();
    } catch (error) {
      const repeats = rules.platform === 'win32' && attempt < ATTEMPTS;
      if (!repeats || !IN_USE.has(osErrorCode(error) ?? '')) throw error;
      await sleep(rules.clock, FIRST_WAIT_MS * 2 ** (attempt - 1));
    }
  }
}
