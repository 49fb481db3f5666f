import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';

export interface WaitOptions {
  /** What is waited for, for the message of a failure. */
  readonly what: string;
  readonly timeoutMs?: number;
  readonly stepMs?: number;
}

/** The first value of `probe` that is neither false nor undefined. Fails the test when the time is over. */
export async function waitFor<T>(
  probe: () => T | false | undefined | Promise<T | false | undefined>,
  { what, timeoutMs = 20_000, stepMs = 25 }: WaitOptions,
): Promise<T> {
  const end = performance.now() + timeoutMs;
  for (;;) {
    const value = await probe();
    if (value !== false && value !== undefined) return value;
    if (performance.now() > end) assert.fail(`waited ${timeoutMs} ms in vain for ${what}`);
    await sleep(stepMs);
  }
}
