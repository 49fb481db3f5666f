import type { Clock } from '../../lib/clock.ts';

/** A server. */
export interface HttpTarget {
  readonly protocol: 'http:' | 'https:';
  /** Name or address; IPv6 without brackets. */
  readonly host: string;
  readonly port: number;
}

/** A body that may be asked for its bytes more than once. */
export interface HttpBodySource {
  /** Exact number of bytes. */
  readonly size: number;
  stream(signal?: AbortSignal): AsyncIterable<Uint8Array>;
}

export interface HttpRequest {
  readonly method: string;
  readonly target: HttpTarget;
  /** Already encoded, with its query; sent byte for byte, so that names such as `./0000` survive. */
  readonly path: string;
  /** Sent as they are. `host`, `content-length` and `user-agent` are added where absent. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | HttpBodySource | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Overrides {@link HttpClientOptions.idleTimeoutMs} for an answer that is known to take its time. */
  readonly idleTimeoutMs?: number | undefined;
  /** For GET with a `range`: the answer is large, and {@link HttpResponse.fill} is wanted. */
  readonly direct?: boolean | undefined;
}

export interface HttpResponse {
  readonly status: number;
  /** Lower-case names; repeated fields joined by `, `. */
  readonly headers: Readonly<Record<string, string>>;
  /** To be read to the end, left early, or given up with {@link discard}. Each chunk belongs to the caller. */
  readonly body: AsyncIterable<Uint8Array>;
  /**
   * Instead of {@link body}; only some answers to direct requests have it. Puts the next bytes in the target, which must be left
   * alone until then; resolves with their number, 0 only at the end.
   *
   * @throws LitestreamError as reading the body does.
   */
  fill?(target: Uint8Array): Promise<number>;
  /**
   * The whole body as UTF-8.
   *
   * @param limitBytes - default 8 MiB
   * @throws LitestreamError `ERR_STORAGE` if there is more.
   */
  text(limitBytes?: number): Promise<string>;
  /** Gives the body up. Never throws. */
  discard(): Promise<void>;
}

export interface HttpClientOptions {
  readonly clock: Clock;
  /** HTTP_PROXY, HTTPS_PROXY, NO_PROXY and SSL_CERT_FILE are read. Default: none. */
  readonly environment?: Readonly<Record<string, string | undefined>> | undefined;
  /** PEM certificates that are trusted beside the known ones. */
  readonly ca?: string | Uint8Array | undefined;
  /** Accept any certificate. */
  readonly skipVerify?: boolean | undefined;
  /** PEM certificate and key to show to the server. */
  readonly clientCert?:
    { readonly cert: string | Uint8Array; readonly key: string | Uint8Array } | undefined;
  /** Longest wait for a connection, TLS and proxy included. Default 30000. */
  readonly connectTimeoutMs?: number | undefined;
  /** Longest silence in either direction while something is awaited. Default 30000. */
  readonly idleTimeoutMs?: number | undefined;
  /** Connections per server; further requests wait. Default 64. */
  readonly maxSockets?: number | undefined;
}

/** `host`, or `host:port` if the port is not the usual one; IPv6 in brackets. */
export function hostHeader({ protocol, host, port }: HttpTarget): string {
  const name = host.includes(':') ? `[${host}]` : host;
  return port === (protocol === 'https:' ? 443 : 80) ? name : `${name}:${port}`;
}

/** `host:port`; IPv6 in brackets. */
export function hostAndPort({ host, port }: Pick<HttpTarget, 'host' | 'port'>): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
