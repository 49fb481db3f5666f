import type { Store } from '../../engine/index.ts';
import { isLitestreamError, LitestreamError } from '../../lib/errors.ts';
import { remedyOf } from '../../lib/remedy.ts';
import { packageVersion } from '../../lib/version.ts';
import type { Logger } from '../../telemetry/index.ts';
import {
  type Child,
  type ChildResult,
  childResultText,
  signalText,
  startChild,
} from '../child/process.ts';
import type { Io } from '../command.ts';
import { commandLogger } from '../logging.ts';
import { ServiceManager } from '../service-manager.ts';
import { SignalQueue } from '../signals.ts';
import { Assistants } from './assistants.ts';
import { createObservability, type Observability } from './observability.ts';
import type { ReplicateRequest } from './request.ts';
import { type Opened, start } from './start.ts';

/** Why replication ends. */
type Ending =
  | { readonly kind: 'signal'; readonly signal: NodeJS.Signals }
  | { readonly kind: 'child'; readonly result: ChildResult }
  | { readonly kind: 'once' };

/** One run of `replicate`. */
interface Session {
  readonly request: ReplicateRequest;
  readonly io: Io;
  readonly logger: Logger;
  readonly signals: SignalQueue;
  readonly observability: Observability;
  readonly manager: ServiceManager;
  readonly assistants: Assistants;
}

function logSignal(signal: NodeJS.Signals, logger: Logger): void {
  logger.log('info', 'signal received, litestream shutting down', { signal: signalText(signal) });
}

/** Brings everything up; a signal meanwhile stops that, and is the reason why replication ends. */
async function startUnlessStopped(
  session: Session,
  opened: (opened: Opened) => void,
): Promise<Store | NodeJS.Signals> {
  const { request, io, logger, observability, signals } = session;
  const stop = new AbortController();
  let stoppedBy: NodeJS.Signals | undefined;
  signals.handle((signal) => {
    stoppedBy ??= signal;
    stop.abort();
  });
  try {
    const store = await start({
      request,
      io,
      logger,
      observability,
      signal: stop.signal,
      opened,
    });
    return stoppedBy ?? store;
  } catch (error) {
    if (stoppedBy === undefined) throw error;
    return stoppedBy;
  } finally {
    signals.hold();
  }
}

/** One pass over every database; a signal ends it early. Spec: cli 5.3. */
async function syncOnce(store: Store, { logger, request, signals }: Session): Promise<Ending> {
  const stop = new AbortController();
  let stoppedBy: NodeJS.Signals | undefined;
  signals.handle((signal) => {
    stoppedBy ??= signal;
    stop.abort();
  });
  try {
    for (const { options } of store.databases) {
      logger.log('info', 'syncing database', { path: options.path });
      await store.syncDatabase(options.path, stop.signal);
      if (request.forceSnapshot) {
        logger.log('info', 'taking snapshot', { path: options.path });
        await store.snapshotDatabase(options.path, stop.signal);
      }
      if (request.enforceRetention) {
        logger.log('info', 'enforcing retention', { path: options.path });
        await store.enforceRetention(options.path, stop.signal);
      }
    }
    logger.log('info', 'one-shot replication complete');
  } catch (error) {
    if (stoppedBy === undefined) {
      const hint = remedyOf(error);
      if (hint !== undefined) logger.log('error', 'one-shot replication failed', { hint });
      logger.log('info', 'replication complete, litestream shutting down');
      throw error;
    }
  } finally {
    signals.hold();
  }
  if (stoppedBy !== undefined) return { kind: 'signal', signal: stoppedBy };
  logger.log('info', 'replication complete, litestream shutting down');
  return { kind: 'once' };
}

/** Passes a signal on and waits for the child, however long it takes. Later signals are passed on as well. */
async function stopChild(
  child: Child,
  signal: NodeJS.Signals,
  { logger, signals }: Session,
): Promise<void> {
  logger.log('info', 'sending signal to exec process');
  if (!child.signal(signal)) {
    throw new LitestreamError('ERR_IO', 'cannot signal exec process: os: process already finished');
  }
  signals.handle((later) => void child.signal(later));
  logger.log('info', 'waiting for exec process to close');
  const result = await child.ended;
  signals.hold();
  if (result.kind === 'status' && result.status !== 0) {
    const text = childResultText(result);
    throw new LitestreamError('ERR_IO', `cannot wait for exec process: ${text}`);
  }
}

/** Waits for a signal or the end of the child. */
async function waitForEnd(child: Child | undefined, { signals }: Session): Promise<Ending> {
  const ends: Promise<Ending>[] = [
    signals.next().then((signal) => ({ kind: 'signal', signal }) as const),
  ];
  if (child !== undefined) {
    ends.push(child.ended.then((result) => ({ kind: 'child', result }) as const));
  }
  const ending = await Promise.race(ends);
  signals.hold();
  return ending;
}

/** Replicates until something ends it. @throws what decides the exit code; the caller closes the store. */
async function work(session: Session, store: Store): Promise<void> {
  const { request, io, logger } = session;
  const child =
    request.exec === '' ? undefined : await startChild(request.exec, childIo(request, io));
  const ending = request.once ? await syncOnce(store, session) : await waitForEnd(child, session);
  session.manager.stopping();
  if (ending.kind === 'signal') {
    logSignal(ending.signal, logger);
    if (child !== undefined) await stopChild(child, ending.signal, session);
  } else if (ending.kind === 'child') {
    logger.log('info', 'subprocess exited, litestream shutting down');
    const { result } = ending;
    if (result.kind === 'signal' || result.status !== 0) {
      throw new LitestreamError('ERR_IO', childResultText(result));
    }
  }
}

function childIo(request: ReplicateRequest, io: Io): Io {
  if (request.logLevel === '') return io;
  return { ...io, environment: { ...io.environment, LOG_LEVEL: request.logLevel } };
}

/** Final sync and release. Failures are logged and do not change the exit code. Spec: cli 17. */
async function close(
  { services, store }: Opened,
  { logger, request, signals }: Session,
  failure: Error | undefined,
): Promise<void> {
  const interrupt = new AbortController();
  signals.handle(() => interrupt.abort());
  await services.close();
  // What waiting does not mend is not waited for once more.
  const isFinal = request.once && failure instanceof LitestreamError && !failure.retryable;
  const timeoutMs = isFinal ? 0 : undefined;
  for (const error of await store.close({ interrupt: interrupt.signal, timeoutMs })) {
    if (isLitestreamError(error, 'ERR_SHUTDOWN_INTERRUPTED')) {
      logger.log('warn', 'shutdown sync skipped by user interrupt', { error });
    } else {
      logger.log('error', 'failed to close database', { error });
    }
  }
}

async function runSession(session: Session): Promise<void> {
  const { logger } = session;
  let opened: Opened | undefined;
  let failure: Error | undefined;
  try {
    const store = await startUnlessStopped(session, (created) => {
      opened = created;
    });
    if (typeof store === 'string') logSignal(store, logger);
    else {
      session.assistants.watch(store);
      session.manager.ready(store.databases.length);
      await work(session, store);
    }
  } catch (error) {
    failure = error instanceof Error ? error : new Error(String(error));
  }
  session.manager.stopping();
  session.observability.quiet();
  session.assistants.quiet();
  if (opened !== undefined) {
    await close(opened, session, failure);
    logger.log('info', 'litestream shut down');
  }
  if (failure !== undefined) throw failure;
}

/**
 * Replicates as requested, until a signal, the end of the child, or the end of the work.
 *
 * @throws LitestreamError whatever makes the exit code 1. Everything that was opened is closed by then.
 *
 * Spec: cli 5, 17 and 18.
 */
export async function replicate(request: ReplicateRequest, io: Io): Promise<number> {
  using signals = new SignalQueue();
  const { logging } = request.config;
  const logger = commandLogger(io, { logging, level: request.logLevel });
  logger.log('info', 'litestream', { version: packageVersion(), level: request.level });
  const { config, once } = request;
  const observability = await createObservability({ config, monitors: !once, io, logger });
  const assistants = new Assistants({ request, io, logger });
  const { clock, environment } = io;
  const manager = new ServiceManager({ clock, environment, logger, pid: process.pid });
  // Without databases nothing else keeps the process alive.
  const alive = io.clock.timer(Number.MAX_SAFE_INTEGER, () => undefined);
  try {
    await assistants.start();
    await runSession({ request, io, logger, signals, observability, manager, assistants });
  } finally {
    await assistants.close();
    manager.close();
    observability.close();
    alive.cancel();
  }
  return 0;
}
