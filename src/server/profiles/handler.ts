import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import type { Clock } from '../../lib/clock.ts';
import { notFound, type Reply } from '../listener/respond.ts';
import type { ProcessProfiler } from './profiler.ts';

/** Below which path profiles are served. */
export const PROFILES = '/debug/pprof/';

const PLAIN = 'text/plain; charset=utf-8';
const SECONDS_MAX = 300;
const CPU_SECONDS = 30;
const HEAP_SECONDS = 5;
const ABSENT: ReadonlySet<string> = new Set([
  'block',
  'goroutine',
  'mutex',
  'symbol',
  'threadcreate',
  'trace',
]);

export interface ProfilesInit {
  readonly clock: Clock;
  /** The program's arguments, its own name first. */
  readonly argv: readonly string[];
}

/** Answers requests below `/debug/pprof/`. Nothing is loaded before the first profile. Spec: interfaces 2.3. */
export class Profiles {
  readonly #init: ProfilesInit;
  #profiler: Promise<ProcessProfiler> | undefined;

  constructor(init: ProfilesInit) {
    this.#init = init;
  }

  /** @param path - with the leading {@link PROFILES}. */
  async answer(path: string, query: URLSearchParams, signal?: AbortSignal): Promise<Reply> {
    const name = path.slice(PROFILES.length);
    if (name === '') return index();
    if (name === 'cmdline') return plain(200, this.#init.argv.join('\0'));
    if (ABSENT.has(name)) return plain(501, 'profile not available on Node.js\n');
    if (name !== 'profile' && name !== 'heap' && name !== 'allocs') return notFound;
    const seconds = secondsOf(query, name === 'profile' ? CPU_SECONDS : HEAP_SECONDS);
    this.#profiler ??= import('./profiler.ts').then(
      ({ ProcessProfiler: Profiler }) => new Profiler(this.#init.clock),
    );
    const profiler = await this.#profiler;
    const bytes = await (name === 'profile'
      ? profiler.cpu(seconds, signal)
      : profiler.heap(seconds, signal));
    if (bytes === undefined) return plain(429, 'another profile is being taken\n');
    return {
      status: 200,
      contentType: 'application/octet-stream',
      body: await promisify(gzip)(bytes),
      headers: { 'content-disposition': `attachment; filename="${name}.pb.gz"` },
    };
  }
}

function plain(status: number, body: string): Reply {
  return { status, contentType: PLAIN, body };
}

function secondsOf(query: URLSearchParams, byDefault: number): number {
  const seconds = Number(query.get('seconds') ?? '');
  return seconds > 0 && Number.isFinite(seconds) ? Math.min(seconds, SECONDS_MAX) : byDefault;
}

function index(): Reply {
  const items = ['allocs', 'cmdline', 'heap', 'profile'].map(
    (name) => `<li><a href="${name}">${name}</a></li>`,
  );
  return {
    status: 200,
    contentType: 'text/html; charset=utf-8',
    body: `<!doctype html><title>profiles</title><ul>${items.join('')}</ul>\n`,
  };
}
