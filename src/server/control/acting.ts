import { errorMessage, isLitestreamError, LitestreamError } from '../../lib/errors.ts';
import { jsonReply, type Reply } from '../listener/respond.ts';
import { BodyError, booleanField, integerField, textField } from './body.ts';
import { type ControlContext, type ControlRequest, errorReply, type Handler } from './context.ts';
import { deadline } from './deadline.ts';

const DEFAULT_SECONDS = 30;
/** What is bounded by the same time inside gets this much longer to say what went wrong. */
const GRACE_MS = 500;

type Fields = ControlRequest['fields'];
type Act = (path: string, request: ControlRequest, context: ControlContext) => Promise<Reply>;

function invalidBody(error: unknown): Reply {
  if (!(error instanceof BodyError)) throw error;
  return errorReply(400, 'invalid request body', error.message);
}

/**
 * A request that names a database: all fields are checked first, then the path.
 *
 * @param check - whatever else has to be right before the path is looked at.
 */
function withPath(
  fieldsOf: (fields: Fields) => unknown,
  act: Act,
  check?: (fields: Fields) => Reply | undefined,
): Handler {
  return async (request, context) => {
    const { fields } = request;
    let path: string;
    try {
      path = textField(fields, 'path');
      fieldsOf(fields);
    } catch (error) {
      return invalidBody(error);
    }
    if (path === '') return errorReply(400, 'path required');
    const wrong = check?.(fields);
    if (wrong !== undefined) return wrong;
    try {
      path = context.normalizePath(path);
    } catch (error) {
      return errorReply(400, `invalid path: ${errorMessage(error)}`);
    }
    return act(path, request, context);
  };
}

function seconds(fields: Fields): number {
  return integerField(fields, 'timeout');
}

/** The seconds that a request gives, or 30. Below zero nothing is waited for. */
function orDefault(given: number): number {
  return given === 0 ? DEFAULT_SECONDS : given;
}

function decimal(txid: bigint): number {
  return Number(txid);
}

/** Spec: interfaces 2.3 `POST /start`. */
export const start: Handler = withPath(seconds, async (path, request, { clock, store }) => {
  const given = seconds(request.fields);
  using bound = deadline(clock, given > 0 ? given * 1000 : undefined, request.signal);
  try {
    const { changed, txid } = await store.start(path, bound.signal);
    const status = changed ? 'started' : 'already_running';
    return jsonReply(200, { status, path, txid: decimal(txid) });
  } catch (error) {
    const text = errorMessage(error);
    if (isLitestreamError(error, 'ERR_DB_NOT_FOUND')) return errorReply(500, text);
    const prefix = bound.signal.aborted ? 'enable database' : 'open database';
    return errorReply(500, `${prefix}: ${text}`);
  }
});

/** Spec: interfaces 2.3 `POST /stop`. */
export const stop: Handler = withPath(seconds, async (path, request, { clock, store }) => {
  const timeoutMs = orDefault(seconds(request.fields)) * 1000;
  const waitMs = timeoutMs > 0 ? timeoutMs + GRACE_MS : 0;
  using bound = deadline(clock, waitMs, request.signal);
  try {
    const { changed, txid } = await store.stop(path, { timeoutMs, signal: bound.signal });
    const status = changed ? 'stopped' : 'already_stopped';
    return jsonReply(200, { status, path, txid: decimal(txid) });
  } catch (error) {
    const text = errorMessage(error);
    if (isLitestreamError(error, 'ERR_DB_NOT_FOUND')) return errorReply(500, text);
    return errorReply(500, `close database: ${text}`);
  }
});

/** Spec: interfaces 2.3 `POST /unregister`. */
export const unregister: Handler = withPath(seconds, async (path, request, { clock, store }) => {
  const given = seconds(request.fields);
  const timeoutMs = (given > 0 ? given : DEFAULT_SECONDS) * 1000;
  using bound = deadline(clock, timeoutMs + GRACE_MS, request.signal);
  try {
    const { changed, txid } = await store.unregister(path, { timeoutMs, signal: bound.signal });
    const status = changed ? 'unregistered' : 'already_unregistered';
    return jsonReply(200, { status, path, txid: decimal(txid) });
  } catch (error) {
    return errorReply(500, `failed to unregister database: ${errorMessage(error)}`);
  }
});

function replicaUrl(fields: Fields): string {
  return textField(fields, 'replica_url');
}

/** Spec: interfaces 2.3 `POST /register`; failures OPS-19, OPS-20. */
export const register: Handler = withPath(
  replicaUrl,
  async (path, { fields, signal }, { createDatabase, store }) => {
    const already = (): Reply => jsonReply(200, { status: 'already_registered', path });
    if (store.has(path)) return already();
    let database;
    try {
      database = await createDatabase(path, replicaUrl(fields));
    } catch (error) {
      return errorReply(400, `invalid replica url: ${errorMessage(error)}`);
    }
    try {
      if (!(await store.register(database, signal))) return already();
      return jsonReply(200, { status: 'registered', path });
    } catch (error) {
      const text = errorMessage(error);
      const isConflict = isLitestreamError(error, 'ERR_CONFIG');
      const prefix = 'failed to register database';
      return isConflict
        ? errorReply(409, `${prefix}: ${text}`)
        : errorReply(500, `${prefix}: open db: ${text}`);
    }
  },
  (fields) => (replicaUrl(fields) === '' ? errorReply(400, 'replica_url required') : undefined),
);

/** The status by which a request for an open database failed. */
function failureStatus(error: unknown): 404 | 409 | 500 {
  if (isLitestreamError(error, 'ERR_DB_NOT_FOUND')) return 404;
  return isLitestreamError(error, 'ERR_DB_NOT_OPEN') ? 409 : 500;
}

function syncFields(fields: Fields): { readonly wait: boolean; readonly given: number } {
  return { wait: booleanField(fields, 'wait'), given: seconds(fields) };
}

/** Spec: interfaces 2.3 `POST /sync`. */
export const sync: Handler = withPath(syncFields, async (path, request, { clock, store }) => {
  const { given, wait } = syncFields(request.fields);
  const bounded = given > 0 ? given : wait ? DEFAULT_SECONDS : undefined;
  const waitMs = bounded === undefined ? undefined : bounded * 1000;
  using bound = deadline(clock, waitMs, request.signal);
  try {
    const { grew, replicatedTxid, txid } = await store.sync(path, { wait, signal: bound.signal });
    const status = grew ? (wait ? 'synced' : 'synced_local') : 'no_change';
    return jsonReply(200, {
      status,
      path,
      txid: decimal(txid),
      replicated_txid: decimal(replicatedTxid),
    });
  } catch (error) {
    const code = failureStatus(error);
    const text = errorMessage(error);
    return errorReply(code, code === 500 ? `sync database: ${text}` : text);
  }
});

function waitFields(fields: Fields): { readonly given: number; readonly txid: number } {
  const txid = integerField(fields, 'txid');
  if (txid < 0) throw new BodyError('field txid: expected a number that is not negative');
  return { given: seconds(fields), txid };
}

/** Spec: interfaces 8.1 `POST /wait`, design B4. */
export const wait: Handler = withPath(waitFields, async (path, request, { clock, store }) => {
  const { given, txid: wanted } = waitFields(request.fields);
  using bound = deadline(clock, (given > 0 ? given : DEFAULT_SECONDS) * 1000, request.signal);
  try {
    const least = wanted === 0 ? undefined : BigInt(wanted);
    const { replicatedTxid, txid } = await store.wait(path, least, bound.signal);
    return jsonReply(200, {
      status: 'durable',
      path,
      txid: decimal(txid),
      replicated_txid: decimal(replicatedTxid),
    });
  } catch (error) {
    const text = errorMessage(error);
    if (error instanceof LitestreamError && error.code === 'ERR_TIMEOUT') {
      return errorReply(504, text);
    }
    const code = failureStatus(error);
    return errorReply(code, code === 500 ? `wait for database: ${text}` : text);
  }
});
