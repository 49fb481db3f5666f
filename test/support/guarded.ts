/** Replica clients and loggers of tests: what they report is searched for secrets. */
import {
  openReplica as open,
  type ReplicaClient,
  type ReplicaClientOptions,
  type ReplicaLocation,
} from '../../src/storage/index.ts';
import type { LogAttributes, Logger, LogLevel } from '../../src/telemetry/index.ts';
import { checkError, checkRecord, registerSecret } from './secrets.ts';

/** Settings of locations that nobody may see. */
const SECRET_SETTING =
  /^(?:secretAccessKey|sseCustomerKey|accountKey|sasToken|password|keyPassphrase|jwt|seed|token)$/;

/** A logger that takes everything, and hands it to `record`. */
export function checkedLogger(
  record: (level: LogLevel, message: string, attributes?: LogAttributes) => void = () => undefined,
): Logger {
  const logger: Logger = {
    log: (level, message, attributes) => {
      checkRecord(message, attributes);
      record(level, message, attributes);
    },
    enabled: () => true,
    with: (attributes) => {
      checkRecord('with', attributes);
      return logger;
    },
  };
  return logger;
}

async function* guardedStream<T>(what: string, stream: AsyncIterable<T>): AsyncIterable<T> {
  try {
    yield* stream;
  } catch (error) {
    checkError(what, error);
    throw error;
  }
}

function isStream(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value;
}

/** The same client. The test fails if one of its errors shows a secret. */
export function guarded<C extends ReplicaClient>(client: C): C {
  return new Proxy(client, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name, target);
      if (typeof member !== 'function') return member;
      const what = `an error of ${client.type} ${String(name)}`;
      return (...args: unknown[]): unknown => {
        const result: unknown = Reflect.apply(member, target, args);
        if (isStream(result)) return guardedStream(what, result);
        if (!(result instanceof Promise)) return result;
        return result.catch((error: unknown) => {
          checkError(what, error);
          throw error;
        });
      };
    },
  });
}

/** As the product opens it, guarded, and with a logger that is checked where none is given. */
export async function openReplica(
  location: ReplicaLocation,
  options: ReplicaClientOptions,
): Promise<ReplicaClient> {
  for (const [name, value] of Object.entries(location)) {
    if (SECRET_SETTING.test(name) && value !== '') registerSecret(name, String(value));
  }
  try {
    return guarded(await open(location, { logger: checkedLogger(), ...options }));
  } catch (error) {
    checkError(`an error of ${location.type}`, error);
    throw error;
  }
}
