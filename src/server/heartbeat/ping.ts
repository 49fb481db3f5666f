import type { Agent, ClientRequest, IncomingMessage, RequestOptions } from 'node:http';
import type { Clock } from '../../lib/clock.ts';
import { errorMessage, LitestreamError } from '../../lib/errors.ts';
import { osErrorCode, osErrorText } from '../../lib/os-error.ts';

const REDIRECTS_MAX = 10;

export interface PingOptions {
  readonly clock: Clock;
  /** Whole exchange, redirects included. */
  readonly timeoutMs: number;
  /** For `HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly userAgent: string;
}

/**
 * One GET; redirects are followed.
 *
 * @returns the status of the final answer
 * @throws LitestreamError `ERR_IO`, prefixed `http request: `
 */
export async function ping(url: string, options: PingOptions): Promise<number> {
  const stop = new AbortController();
  const timer = options.clock.timer(options.timeoutMs, () => {
    stop.abort(new LitestreamError('ERR_TIMEOUT', 'context deadline exceeded'));
  });
  timer.unref?.();
  try {
    let target = url;
    for (let redirects = 0; redirects <= REDIRECTS_MAX; redirects++) {
      const { location, status } = await get(new URL(target), options, stop.signal);
      if (status < 300 || status >= 400 || location === undefined) return status;
      target = new URL(location, target).href;
    }
    throw new LitestreamError('ERR_IO', `stopped after ${REDIRECTS_MAX} redirects`);
  } catch (error) {
    const cause: unknown = stop.signal.aborted ? stop.signal.reason : error;
    throw new LitestreamError('ERR_IO', `http request: ${textOf(cause)}`, { cause });
  } finally {
    timer.cancel();
  }
}

interface Answer {
  readonly status: number;
  readonly location: string | undefined;
}

async function get(url: URL, options: PingOptions, signal: AbortSignal): Promise<Answer> {
  const { protocol } = url;
  if (protocol !== 'http:' && protocol !== 'https:') {
    throw new LitestreamError('ERR_IO', `unsupported protocol scheme "${protocol.slice(0, -1)}"`);
  }
  const secure = protocol === 'https:';
  const { Agent: AgentClass, request } = secure
    ? await import('node:https')
    : await import('node:http');
  const agent = new AgentClass({
    proxyEnv: isLoopback(url) ? {} : { ...options.environment },
    ...(secure ? { ca: await authorities() } : {}),
  });
  const init: RequestOptions = { agent, signal, headers: { 'user-agent': options.userAgent } };
  try {
    return await exchange(request(url, init));
  } finally {
    closeAgent(agent);
  }
}

function exchange(request: ClientRequest): Promise<Answer> {
  return new Promise((resolve, reject) => {
    request.on('error', reject);
    request.on('response', (response: IncomingMessage) => {
      // Nobody is interested in the body, and it may be endless.
      response.destroy();
      resolve({ status: response.statusCode ?? 0, location: response.headers.location });
    });
    request.end();
  });
}

function closeAgent(agent: Agent): void {
  agent.destroy();
}

/** Node's own authorities and the system's: a private one that is installed system-wide has to work. */
async function authorities(): Promise<string[]> {
  const { getCACertificates } = await import('node:tls');
  return [...getCACertificates('default'), ...getCACertificates('system')];
}

/** A proxy is never asked for this machine, whatever `NO_PROXY` says. */
function isLoopback({ hostname }: URL): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d{1,3}){3}$/.test(hostname);
}

function textOf(error: unknown): string {
  const code = osErrorCode(error);
  if (code === undefined) return errorMessage(error);
  const text = osErrorText(code);
  return text === code ? errorMessage(error) : text;
}
