export { HttpClient } from './client.ts';
export { parseHttpDate } from './date.ts';
export {
  HttpStatusError,
  type HttpStatusErrorInit,
  isRetryableStatus,
  retryAfterMs,
  type RetryOptions,
  statusCode,
  withRetries,
} from './retry.ts';
export type {
  HttpBodySource,
  HttpClientOptions,
  HttpRequest,
  HttpResponse,
  HttpTarget,
} from './types.ts';
export { hostAndPort, hostHeader } from './types.ts';
