import { errorMessage } from '../../lib/errors.ts';
import { remedyOf } from '../../lib/remedy.ts';

/** `note` is for what cannot be told from here, or may be on purpose. */
export type CheckStatus = 'ok' | 'note' | 'warning' | 'failed';

/** One line of what `doctor` finds. */
export interface Check {
  /** What it is about: a database, a replica, `configuration`, `machine`. */
  readonly subject: string;
  readonly check: string;
  readonly status: CheckStatus;
  readonly detail: string;
  /** What to do; empty if nothing needs to be done. */
  readonly remedy: string;
}

/** Collects the checks of one subject. */
export class Checks {
  readonly subject: string;
  readonly all: Check[] = [];

  constructor(subject: string) {
    this.subject = subject;
  }

  ok(check: string, detail: string): void {
    this.#add(check, 'ok', detail, '');
  }

  note(check: string, detail: string, remedy = ''): void {
    this.#add(check, 'note', detail, remedy);
  }

  warn(check: string, detail: string, remedy: string): void {
    this.#add(check, 'warning', detail, remedy);
  }

  fail(check: string, detail: string, remedy: string): void {
    this.#add(check, 'failed', detail, remedy);
  }

  /** A failure in the words of an error. */
  failure(check: string, error: unknown, remedy = 'look at the message'): void {
    this.fail(check, errorMessage(error), remedyOf(error) ?? remedy);
  }

  #add(check: string, status: CheckStatus, detail: string, remedy: string): void {
    this.all.push({ subject: this.subject, check, status, detail, remedy });
  }
}
