import type { Clock } from '../../lib/clock.ts';
import { LitestreamError } from '../../lib/errors.ts';

/** A signal that fires after some time, or with another one. It has to be let go of. */
export interface Deadline extends Disposable {
  readonly signal: AbortSignal;
}

/** @param ms - undefined: only the other signal counts. */
export function deadline(clock: Clock, ms: number | undefined, parent: AbortSignal): Deadline {
  const abort = new AbortController();
  const expire = (): void => {
    abort.abort(new LitestreamError('ERR_TIMEOUT', 'context deadline exceeded'));
  };
  if (ms !== undefined && ms <= 0) expire();
  const timer = ms === undefined || ms <= 0 ? undefined : clock.timer(ms, expire);
  return {
    signal: AbortSignal.any([abort.signal, parent]),
    [Symbol.dispose]: () => timer?.cancel(),
  };
}
