import type { HttpClient, HttpTarget } from '../../http/index.ts';

/** `fetch` for a library, on our own connections: their proxies, authorities and time limits apply to it, too. */
export function fetchThrough(http: HttpClient): typeof fetch {
  return async (input, init) => {
    const request = new Request(input, init);
    const url = new URL(request.url);
    const body = new Uint8Array(await request.arrayBuffer());
    const response = await http.send({
      method: request.method,
      target: targetOf(url),
      path: url.pathname + url.search,
      headers: Object.fromEntries(request.headers.entries()),
      ...(body.length > 0 && { body }),
      signal: request.signal,
    });
    const { status, headers } = response;
    const text = await response.text();
    return new Response(text === '' ? null : text, { status, headers });
  };
}

/** The server of a URL. */
export function targetOf(url: URL): HttpTarget {
  const protocol = url.protocol === 'http:' ? 'http:' : 'https:';
  const port = Number(url.port) || (protocol === 'https:' ? 443 : 80);
  return { protocol, host: url.hostname.replace(/^\[|\]$/g, ''), port };
}
