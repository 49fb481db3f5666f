import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { platform, tmpdir } from 'node:os';
import { join } from 'node:path';

/** A file and the time that it should carry. */
export interface FileTime {
  /** Absolute. */
  readonly path: string;
  /** Whole milliseconds since the Unix epoch, not negative. */
  readonly ms: number;
}

/** Longest life of the helper. About ten times what 1000 files take. */
const HELPER_MS_MAX = 10_000;
/**
 * One helper for any number of files. Times and paths reach it through standard input only, ended by NUL, which no path can
 * contain: nothing is ever read as a command or an option. `-c` creates nothing, `-h` follows no symbolic link.
 */
const HELPER = ['env', 'LC_ALL=C', 'xargs', '-0', '-n', '3', 'touch', '-c', '-h', '-d'] as const;

/** True if Node's file times, doubles of seconds, hit this millisecond: multiples of 1/8 s do, others are up to 238 ns off. */
export function isExactInNode(ms: number): boolean {
  return ms % 125 === 0;
}

function request({ path, ms }: FileTime): string {
  const seconds = Math.floor(ms / 1000);
  const fraction = String(ms - seconds * 1000).padStart(3, '0');
  return `@${seconds}.${fraction}\0--\0${path}\0`;
}

/** Runs the helper to its end, whatever that is. */
async function runHelper(entries: readonly FileTime[]): Promise<void> {
  // Loaded late: every command has this file, few need processes.
  const { spawn } = await import('node:child_process');
  await new Promise<void>((resolve) => {
    const [command, ...parameters] = HELPER;
    const child = spawn(command, parameters, {
      // A session of its own: Ctrl-C at a terminal must not stop what the shutdown waits for.
      detached: true,
      stdio: ['pipe', 'ignore', 'ignore'],
      timeout: HELPER_MS_MAX,
    });
    child.once('error', () => resolve());
    child.once('close', () => resolve());
    // A helper that has died closes its end. Its exit is enough to know.
    child.stdin.on('error', () => undefined);
    child.stdin.end(entries.map(request).join(''));
  });
}

/** Tries the helper on a file of its own: names, options and the meaning of fractions differ between systems. */
async function probe(): Promise<boolean> {
  if (platform() !== 'linux') return false;
  const ms = 1_735_689_600_123;
  let folder: string | undefined;
  try {
    folder = await mkdtemp(join(tmpdir(), 'litestream-time-'));
    const path = join(folder, 'probe');
    await writeFile(path, '');
    await runHelper([{ path, ms }]);
    return (await stat(path, { bigint: true })).mtimeNs === BigInt(ms) * 1_000_000n;
  } catch {
    return false;
  } finally {
    if (folder !== undefined)
      await rm(folder, { recursive: true, force: true }).catch(() => undefined);
  }
}

let supported: Promise<boolean> | undefined;

/**
 * Sets access and modification time of files to the exact millisecond, best effort: `touch` knows nanoseconds, Node does not.
 * A file that is missing or may not be changed is passed over, and on a system without a fitting `touch` nothing happens.
 * Never creates a file, never throws, and keeps the process alive for its own time only: ten seconds at the very most.
 */
export async function setExactTimes(entries: readonly FileTime[]): Promise<void> {
  const valid = entries.filter(({ path, ms }) => ms >= 0 && path !== '' && !path.includes('\0'));
  if (valid.length === 0) return;
  supported ??= probe();
  if (await supported) await runHelper(valid);
}
