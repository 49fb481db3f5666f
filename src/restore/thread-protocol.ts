import type { ErrorCode } from '../lib/errors.ts';
import type { SharedOwners } from './page-owners.ts';

/** Words of {@link ThreadJob.control}. */
export const CONTROL_NEXT = 0;
export const CONTROL_STOP = 1;
export const CONTROL_WORDS = 2;

/** Numbers per run in {@link ThreadJob.runs}: number of the file, offset, bytes, pages, fold. */
export const RUN_FIELDS = 5;

/** What the threads of one restore share. No message is sent per run: runs are claimed and answered in shared memory. */
export interface ThreadJob {
  readonly kind: 'job';
  /** Number of the next run that nobody has claimed; whether to stop. */
  readonly control: SharedArrayBuffer;
  /** Doubles, {@link RUN_FIELDS} per run. */
  readonly runs: SharedArrayBuffer;
  /** CRC register after each run, seeded with 0. */
  readonly states: SharedArrayBuffer;
  /** Doubles: bytes fed to the CRC of each run. */
  readonly hashed: SharedArrayBuffer;
  /** Receives page 1. */
  readonly pageOne: SharedArrayBuffer;
  readonly owners: SharedOwners;
  readonly pageSize: number;
  /** Of the planned files. */
  readonly paths: readonly string[];
  /** Descriptor of the output, shared by all threads of the process. */
  readonly output: number;
  /** A second one that writes past the page cache, or −1. */
  readonly direct: number;
  readonly outputPath: string;
}

/** Claim and apply runs up to, not including, this one. */
export interface ThreadPhase {
  readonly kind: 'phase';
  readonly to: number;
}

export type ThreadRequest = ThreadJob | ThreadPhase;

/** Sent once per phase. */
export type ThreadReply =
  | { readonly kind: 'done' }
  | {
      readonly kind: 'failed';
      /** Number of the file in the plan. */
      readonly file: number;
      readonly code: ErrorCode;
      readonly message: string;
      readonly details: Readonly<Record<string, unknown>>;
    };
