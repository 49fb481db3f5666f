import { errorMessage } from '../../../lib/errors.ts';
import type { Logger } from '../../../telemetry/index.ts';

const MODES = [
  'signing',
  'request',
  'request-with-body',
  'response',
  'response-with-body',
  'retries',
] as const;
type Mode = (typeof MODES)[number];

const BODY_SHOWN_MAX = 2000;
const HIDDEN = /^(?:authorization|x-amz-security-token|.*customer-key)$/;

type Headers = Readonly<Record<string, string>>;

/**
 * Log lines about what goes over the wire, for `LITESTREAM_S3_DEBUG`: a list of modes with commas. They come at INFO, whatever the
 * log level is set to below that. Keys and signatures are never shown. Spec: backends 5.2.5.
 */
export class WireLog {
  readonly #modes: ReadonlySet<Mode>;
  readonly #logger: Logger;

  constructor(text: string, logger: Logger) {
    this.#logger = logger;
    this.#modes = new Set(readModes(text, logger));
  }

  request(method: string, url: string, headers: Headers, body: unknown): void {
    const signed = /SignedHeaders=([^,]*)/.exec(headers['authorization'] ?? '')?.[1] ?? '';
    if (this.#modes.has('signing')) {
      this.#logger.log('info', 's3 signing', { method, url, signed_headers: signed });
    }
    const withBody = this.#modes.has('request-with-body');
    if (!withBody && !this.#modes.has('request')) return;
    const text = withBody && body instanceof Uint8Array ? shown(body) : undefined;
    this.#logger.log('info', 's3 wire request', {
      method,
      url,
      headers: open(headers),
      body: text,
    });
  }

  response(url: string, status: number, headers: Headers): void {
    if (!this.#modes.has('response') && !this.#modes.has('response-with-body')) return;
    this.#logger.log('info', 's3 wire response', { url, status, headers: open(headers) });
  }

  responseBody(text: string): void {
    if (!this.#modes.has('response-with-body') || text === '') return;
    this.#logger.log('info', 's3 wire response body', { body: text.slice(0, BODY_SHOWN_MAX) });
  }

  retry(attempt: number, error: unknown): void {
    if (!this.#modes.has('retries')) return;
    this.#logger.log('info', 's3 attempt failed', { attempt, error: errorMessage(error) });
  }
}

function readModes(text: string, logger: Logger): readonly Mode[] {
  const found: Mode[] = [];
  for (const part of text.split(',')) {
    const value = part.trim().toLowerCase();
    const mode = MODES.find((each) => each === value);
    if (value === 'all') found.push(...MODES);
    else if (mode !== undefined) found.push(mode);
    else if (value !== '') {
      const message = `unknown LITESTREAM_S3_DEBUG value, expected: ${MODES.join(', ')}, all`;
      logger.log('warn', message, { value });
    }
  }
  return found;
}

function open(headers: Headers): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, HIDDEN.test(name) ? '…' : value]),
  );
}

/** Documents are shown, database pages are not. */
function shown(body: Uint8Array): string {
  const start = String.fromCharCode(...body.subarray(0, 1));
  if (start !== '<' && start !== '{') return `${body.length} bytes`;
  return new TextDecoder().decode(body.subarray(0, BODY_SHOWN_MAX));
}
