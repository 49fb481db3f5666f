import type { NatsLocation } from '../../src/storage/index.ts';

/** Where a bucket is, with everything else as it is without settings, but for a short wait between reconnects. */
export function natsLocation(
  url: string,
  bucket: string,
  settings: Partial<NatsLocation> = {},
): NatsLocation {
  return {
    type: 'nats',
    url,
    bucket,
    jwt: '',
    seed: '',
    creds: '',
    nkey: '',
    username: '',
    password: '',
    token: '',
    tls: false,
    rootCas: [],
    clientCert: '',
    clientKey: '',
    maxReconnects: -1,
    reconnectWaitMs: 100,
    timeoutMs: 10_000,
    ...settings,
  };
}
