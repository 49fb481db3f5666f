import type { IncomingMessage, ServerResponse } from 'node:http';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';

const PLAIN = 'text/plain; charset=utf-8';

/** One answer. */
export interface Reply {
  readonly status: number;
  readonly contentType: string;
  readonly body: string | Uint8Array;
  readonly headers?: Readonly<Record<string, string>>;
}

export const notFound: Reply = {
  status: 404,
  contentType: PLAIN,
  body: '404 page not found\n',
};

/** The answer to a method that the path does not know. */
export function methodNotAllowed(allow: string): Reply {
  return {
    status: 405,
    contentType: PLAIN,
    body: 'Method Not Allowed\n',
    headers: { allow },
  };
}

export function jsonReply(status: number, value: unknown): Reply {
  const body = `${JSON.stringify(value)}\n`;
  return {
    status,
    contentType: 'application/json',
    body,
    headers: { 'cache-control': 'no-store' },
  };
}

/** Sends an answer, compressed if the client takes that; `HEAD` gets the headers only. */
export async function send(
  request: IncomingMessage,
  response: ServerResponse,
  reply: Reply,
): Promise<void> {
  const { body, contentType, headers = {}, status } = reply;
  let bytes = typeof body === 'string' ? Buffer.from(body) : body;
  response.statusCode = status;
  response.setHeader('content-type', contentType);
  response.setHeader('x-content-type-options', 'nosniff');
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
  if (
    status === 200 &&
    typeof body === 'string' &&
    acceptsGzip(request.headers['accept-encoding'])
  ) {
    bytes = await promisify(gzip)(bytes);
    response.setHeader('content-encoding', 'gzip');
    response.setHeader('vary', 'accept-encoding');
  }
  response.setHeader('content-length', bytes.length);
  response.end(request.method === 'HEAD' ? undefined : bytes);
}

function acceptsGzip(header: string | string[] | undefined): boolean {
  const accepted = String(header ?? '')
    .toLowerCase()
    .split(',');
  return accepted.some((entry) => /^\s*(gzip|\*)\s*(;\s*q=(?!0(\.0*)?\s*$).*)?$/.test(entry));
}
