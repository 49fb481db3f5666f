import { formatRfc3339 } from '../lib/time-text.ts';
import { LitestreamError } from '../lib/errors.ts';
import type { CallOptions } from './contract.ts';

/** For how long a lease is good without being renewed. Spec: backends 6. */
export const LEASE_TTL_MS = 30_000;

/** Who may write to a replica. Spec: formats 4.6. */
export interface LeaseRecord {
  /** +1 with every change of hands. */
  readonly generation: number;
  /** Milliseconds since the Unix epoch, on the store's clock. */
  readonly expiresAt: number;
  /** `host:pid`; may be empty. */
  readonly owner: string;
}

/** A lease that is ours, unless somebody else has taken it since. */
export interface HeldLease extends LeaseRecord {
  /** The version of the object that says so, verbatim. */
  readonly etag: string;
}

/** Leases in a store that decides conditional writes. Spec: backends 6. */
export interface LeaseStore {
  /**
   * Takes the lease if nobody has it or its time is over.
   *
   * @throws LitestreamError `ERR_LEASE_HELD` with `details.expiresInMs`; `ERR_STORAGE` if the store ignores conditions.
   */
  acquire(owner: string, options?: CallOptions): Promise<HeldLease>;
  /** @throws LitestreamError `ERR_LEASE_NOT_HELD` if somebody else has taken it. */
  renew(lease: HeldLease, options?: CallOptions): Promise<HeldLease>;
  /** @throws LitestreamError `ERR_LEASE_NOT_HELD` if somebody else has taken it, or it is gone. */
  release(lease: HeldLease, options?: CallOptions): Promise<void>;
}

/** The error of a lease that another one has. Nothing is known of it if it went away meanwhile. */
export function leaseHeld(record: LeaseRecord | undefined, now: number): LitestreamError {
  const owner = record?.owner ?? '';
  const by = owner === '' ? '' : ` by ${owner}`;
  const expiresAt = record?.expiresAt ?? now;
  const until = formatRfc3339(Math.floor(expiresAt / 1000) * 1000);
  return new LitestreamError('ERR_LEASE_HELD', `lease already held${by} until ${until}`, {
    retryable: true,
    details: { owner, expiresAt, expiresInMs: Math.max(0, expiresAt - now) },
    hint: 'another process writes to this replica; this one takes over when the lease ends',
  });
}

/** The error of a lease that is not ours any more. */
export function leaseNotHeld(message = 'lease not held'): LitestreamError {
  return new LitestreamError('ERR_LEASE_NOT_HELD', message, {
    hint: 'another process writes to this replica; stop one of them and restart the other',
  });
}
