import type { Reply } from '../listener/respond.ts';
import { register, start, stop, sync, unregister, wait } from './acting.ts';
import type { Handler } from './context.ts';
import { info, list, status, syncStatus, txid } from './reading.ts';

/** What may be asked for under one path. */
export interface Route {
  readonly method: 'GET' | 'POST';
  readonly handle: Handler;
}

const PLAIN = 'text/plain; charset=utf-8';
const PROFILES = '/debug/pprof';

function unavailable(): Reply {
  return { status: 501, contentType: PLAIN, body: 'profile not available on Node.js\n' };
}

const commandLine: Handler = (_request, { argv }) => ({
  status: 200,
  contentType: PLAIN,
  body: argv.join('\0'),
});

const profileIndex: Handler = () => ({
  status: 200,
  contentType: 'text/html; charset=utf-8',
  body: `<!doctype html><title>profiles</title><ul><li><a href="cmdline">cmdline</a></ul>\n`,
});

/** Everything that can be asked for. Spec: interfaces 2.3, 8.1. */
export function createRoutes(startedAt: {
  readonly wallMs: number;
  readonly monotonic: number;
}): ReadonlyMap<string, Route> {
  const reading: readonly (readonly [path: string, handle: Handler])[] = [
    ['/info', info(startedAt)],
    ['/list', list],
    ['/status', status],
    ['/txid', txid],
    ['/debug/sync-status', syncStatus],
    [`${PROFILES}/`, profileIndex],
    [`${PROFILES}/cmdline`, commandLine],
  ];
  const profiles = 'allocs block goroutine heap mutex profile symbol threadcreate trace'.split(' ');
  const acting: readonly (readonly [path: string, handle: Handler])[] = [
    ['/start', start],
    ['/stop', stop],
    ['/register', register],
    ['/unregister', unregister],
    ['/sync', sync],
    ['/wait', wait],
  ];
  return new Map<string, Route>([
    ...reading.map(([path, handle]) => [path, { method: 'GET', handle }] as const),
    ...profiles.map(
      (name) => [`${PROFILES}/${name}`, { method: 'GET', handle: unavailable }] as const,
    ),
    ...acting.map(([path, handle]) => [path, { method: 'POST', handle }] as const),
  ]);
}
