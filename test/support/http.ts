import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { assertNoSecret } from './secrets.ts';

/** A server's answer. */
export interface HttpAnswer {
  readonly status: number;
  readonly text: string;
}

/** One request to the program on a connection of its own. What it answers is searched for secrets. */
export async function get(url: string): Promise<HttpAnswer> {
  const sent = request(url, { agent: false });
  sent.end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  let text = '';
  for await (const chunk of response) text += String(chunk);
  const { pathname } = new URL(url);
  assertNoSecret(`the answer of ${pathname}`, `${JSON.stringify(response.headers)}\n${text}`);
  return { status: response.statusCode ?? 0, text };
}
