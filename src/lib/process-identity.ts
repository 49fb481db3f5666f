import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { kill, pid } from 'node:process';
import { osErrorCode } from './os-error.ts';

/** A process, told apart from a later one with the same number by its start time. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Clock ticks since boot, as text; empty where the system does not tell. */
  readonly startedAt: string;
}

/** This process. */
export function ownIdentity(): ProcessIdentity {
  return { pid, startedAt: startTimeOf(pid) ?? '' };
}

/** This process's name among those of other machines: `host:pid`. Spec: formats 4.6. */
export function ownName(): string {
  const host = hostname();
  return host === '' ? `pid-${pid}` : `${host}:${pid}`;
}

/** True if that very process still runs on this machine. */
export function isAlive(process: ProcessIdentity): boolean {
  try {
    kill(process.pid, 0);
  } catch (error) {
    if (osErrorCode(error) === 'ESRCH') return false;
  }
  const startedAt = startTimeOf(process.pid);
  return startedAt === undefined || process.startedAt === '' || startedAt === process.startedAt;
}

/** Field 22 of `/proc/<pid>/stat`; undefined where there is no such thing. */
function startTimeOf(id: number): string | undefined {
  try {
    const text = readFileSync(`/proc/${id}/stat`, 'utf8');
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}
