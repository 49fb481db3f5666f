import { LitestreamError } from '../../lib/errors.ts';
import { osErrorCode, osErrorText } from '../../lib/os-error.ts';

const TEXTS: Readonly<Record<string, string>> = {
  EAI_AGAIN: 'temporary failure in name resolution',
  ENETUNREACH: 'network is unreachable',
  ENOTFOUND: 'no such host',
};

const HINTS: Readonly<Record<string, string>> = {
  EAI_AGAIN: 'check the name server of this machine',
  ECONNREFUSED: 'check that the server is running, and its address and port',
  EHOSTUNREACH: 'check the network, the firewall and the address',
  ENETUNREACH: 'check the network of this machine',
  ENOTFOUND: 'check the host name in the configuration',
  ETIMEDOUT: 'check the network, the firewall and the address',
};

const RESET_HINT = 'the server or something on the way closed the connection; it is tried again';

/** Where a connection was lost. */
export type ConnectionPhase = 'connect' | 'send' | 'receive';

/** A failed connection. The text names the server and the cause. */
export function connectionError(
  where: string,
  phase: ConnectionPhase,
  cause: unknown,
): LitestreamError {
  if (cause instanceof LitestreamError) return cause;
  const first = firstError(cause);
  const errno = osErrorCode(first) ?? '';
  const message = `${phase === 'connect' ? 'connect to ' : ''}${where}: ${causeText(first, errno)}`;
  const details = { host: where, ...(errno === '' ? {} : { errno }) };
  const certificate = certificateHint(first, errno);
  if (certificate !== undefined) {
    return new LitestreamError('ERR_STORAGE', message, { cause, details, hint: certificate });
  }
  return new LitestreamError('ERR_STORAGE_TEMPORARY', message, {
    cause,
    details,
    retryable: true,
    hint: HINTS[errno] ?? RESET_HINT,
  });
}

/** Nothing has moved for too long. */
export function silenceError(
  where: string,
  what: 'connect' | 'send' | 'answer' | 'receive',
  ms: number,
): LitestreamError {
  const texts = {
    connect: 'no connection after',
    send: 'no bytes taken for',
    answer: 'no answer for',
    receive: 'no bytes received for',
  };
  const message = `${where}: ${texts[what]} ${ms / 1000} s`;
  return new LitestreamError('ERR_STORAGE_TEMPORARY', message, {
    retryable: true,
    details: { host: where, timeoutMs: ms },
    hint: 'check the network, the firewall and the load of the server',
  });
}

/** A host with several addresses fails with one error for each. */
function firstError(error: unknown): unknown {
  if (!(error instanceof AggregateError)) return error;
  const errors: unknown = error.errors;
  const first: unknown = Array.isArray(errors) ? errors[0] : undefined;
  return first ?? error;
}

function causeText(error: unknown, errno: string): string {
  if (/^(?:E[A-Z]+|EAI_AGAIN)$/.test(errno) && errno !== 'EPROTO') {
    return TEXTS[errno] ?? osErrorText(errno);
  }
  const message = error instanceof Error ? error.message : String(error);
  return message === '' ? errno : message;
}

function certificateHint(error: unknown, errno: string): string | undefined {
  if (errno === 'EPROTO' || errno.startsWith('ERR_SSL') || errno.startsWith('HPE_')) {
    return 'check that the scheme (http or https) and the port belong together';
  }
  const text = error instanceof Error ? error.message : '';
  if (errno === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    return "use a name that the server's certificate contains";
  }
  if (!/CERT|ISSUER|VERIFY|SELF_SIGNED/.test(errno) && !/certificate/.test(text)) return undefined;
  return 'give the authority that signed the certificate in SSL_CERT_FILE or NODE_EXTRA_CA_CERTS';
}
