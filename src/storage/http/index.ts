export { HttpClient } from './client.ts';
export { parseHttpDate } from './date.ts';
export {
  HttpStatusError,
  isRetryableStatus,
  retryAfterMs,
  type RetryOptions,
  statusCode,
  withRetries,
} from './retry.ts';
export type { HttpBodySource, HttpRequest, HttpResponse, HttpTarget } from './types.ts';
export { hostAndPort, hostHeader } from './types.ts';
