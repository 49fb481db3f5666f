import { register, start, stop, sync, unregister, wait } from './acting.ts';
import type { Handler } from './context.ts';
import { PROFILES, Profiles } from '../profiles/handler.ts';
import { info, list, status, syncStatus, txid } from './reading.ts';

/** What may be asked for under one path. */
export interface Route {
  readonly method: 'GET' | 'POST';
  readonly handle: Handler;
}

const PROFILE_NAMES = [
  '',
  'allocs',
  'block',
  'cmdline',
  'goroutine',
  'heap',
  'mutex',
  'profile',
  'symbol',
  'threadcreate',
  'trace',
];

/** Profiles of this process, each under its path. */
function profileRoutes(): readonly (readonly [path: string, handle: Handler])[] {
  let profiles: Profiles | undefined;
  return PROFILE_NAMES.map((name) => {
    const path = PROFILES + name;
    const handle: Handler = ({ query, signal }, context) => {
      profiles ??= new Profiles(context);
      return profiles.answer(path, query, signal);
    };
    return [path, handle];
  });
}

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
    ...profileRoutes(),
  ];
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
    ...acting.map(([path, handle]) => [path, { method: 'POST', handle }] as const),
  ]);
}
