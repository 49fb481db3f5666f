import { request } from 'node:http';
import { findSecret } from './secrets.ts';

/** A control server's answer. */
export interface ControlAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  readonly json: unknown;
}

/** One request over a Unix socket. An object is sent as JSON, a text as it is. */
export function ask(
  socketPath: string,
  method: string,
  path: string,
  body?: string | Readonly<Record<string, unknown>>,
): Promise<ControlAnswer> {
  const payload = body === undefined || typeof body === 'string' ? body : JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath, method, path, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => void chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString('utf8');
        const leak = findSecret(`${JSON.stringify(response.headers)}\n${text}`);
        if (leak !== undefined) reject(new Error(`the answer of ${method} ${path} shows ${leak}`));
        const isJson = response.headers['content-type'] === 'application/json' && text !== '';
        const json: unknown = isJson ? JSON.parse(text) : undefined;
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text, json });
      });
    });
    sent.on('error', reject);
    sent.end(payload);
  });
}
