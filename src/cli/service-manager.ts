import { spawn } from 'node:child_process';
import type { Clock, TimerHandle } from '../lib/clock.ts';
import { errorMessage } from '../lib/errors.ts';
import type { Logger } from '../telemetry/index.ts';

/** A helper that does not end by itself is given up. */
const HELPER_MS_MAX = 5000;

export interface ServiceManagerInit {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Of this process. */
  readonly pid: number;
}

/**
 * Tells systemd that the service is ready, is alive, and is stopping. Does nothing unless systemd asked for it (`Type=notify`).
 *
 * Node has no datagram sockets of the Unix kind, so `systemd-notify` sends the messages; the unit needs `NotifyAccess=all`.
 */
export class ServiceManager {
  readonly #init: ServiceManagerInit;
  readonly #isAsked: boolean;
  #timer: TimerHandle | undefined;
  #stopping = false;

  constructor(init: ServiceManagerInit) {
    this.#init = init;
    this.#isAsked = (init.environment['NOTIFY_SOCKET'] ?? '') !== '';
  }

  /** Everything is open. From now on the manager hears from us in time, if it wants to. */
  ready(databases: number): void {
    if (!this.#isAsked) return;
    this.#send(
      '--ready',
      `--status=replicating ${databases} ${databases === 1 ? 'database' : 'databases'}`,
    );
    const intervalMs = this.#watchdogMs();
    if (intervalMs !== undefined) this.#arm(intervalMs / 2);
  }

  /** The end begins: the last uploads may take their time. */
  stopping(): void {
    if (!this.#isAsked || this.#stopping) return;
    this.#stopping = true;
    this.#send('STOPPING=1', '--status=uploading what is left');
  }

  close(): void {
    this.#timer?.cancel();
  }

  /** How long the manager waits for a sign of life; undefined if it does not, or for another process. */
  #watchdogMs(): number | undefined {
    const { environment, pid } = this.#init;
    const microseconds = Number(environment['WATCHDOG_USEC'] ?? '');
    const meant = environment['WATCHDOG_PID'] ?? '';
    if (meant !== '' && meant !== String(pid)) return undefined;
    return microseconds > 0 ? microseconds / 1000 : undefined;
  }

  /** The timer is the sign: a process that does not come round to it hangs. */
  #arm(ms: number): void {
    this.#timer = this.#init.clock.timer(ms, () => {
      this.#send('WATCHDOG=1');
      this.#arm(ms);
    });
    this.#timer.unref?.();
  }

  #send(...messages: string[]): void {
    const { environment, logger, pid } = this.#init;
    const failed = (error: unknown): void => {
      logger.log('debug', 'cannot notify service manager', { error: errorMessage(error) });
    };
    try {
      const helper = spawn('systemd-notify', [`--pid=${pid}`, ...messages], {
        env: { ...environment },
        stdio: 'ignore',
        timeout: HELPER_MS_MAX,
      });
      helper.on('error', failed);
      helper.on('close', (code) => {
        if (code !== 0) failed(new Error(`systemd-notify ended with status ${code ?? 'none'}`));
      });
      helper.unref();
    } catch (error) {
      failed(error);
    }
  }
}
