import { spawn, type ChildProcess } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
} from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { descendantsOf } from '../processes.ts';
import { waitFor } from '../wait.ts';
import type { Scope } from './scope.ts';

const START_MS_MAX = 60_000;
const STOP_MS_MAX = 20_000;
/** Below the ports that systems hand out by themselves, so that nobody takes the one of a server that is being restarted. */
const PORT_MIN = 20_000;
const PORT_COUNT = 12_000;

export interface Command {
  readonly program: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** The server keeps its state only if it is asked to end (SIGTERM). Default false: it is killed. */
  readonly gentle?: boolean;
}

/** Whether something accepts connections on a port of the loopback. */
export function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' });
    const answer = (listening: boolean): void => {
      socket.destroy();
      resolve(listening);
    };
    socket.once('connect', () => {
      answer(true);
    });
    socket.once('error', () => {
      answer(false);
    });
  });
}

/** A port on the loopback that nobody uses. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = PORT_MIN + Math.floor(Math.random() * PORT_COUNT);
    if (await canListen(port)) return port;
  }
}

function canListen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => {
      resolve(false);
    });
    server.listen(port, '127.0.0.1', () => {
      server.close(() => {
        resolve(true);
      });
    });
  });
}

/** What reaches a server: nothing of the machine's credentials, settings and proxies. */
function cleanEnv(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([name]) => !/^(AWS|GOOGLE|AZURE|LITESTREAM|OSS|NATS|PYTHON|SSH)_?|^NODE_|_proxy$/i.test(name),
  );
  return Object.fromEntries(kept);
}

/** What to put in front of a command so that it ends even if this process is killed; nothing where that cannot be had. */
function dieWithUs(): readonly string[] {
  return existsSync('/usr/bin/setpriv') ? ['/usr/bin/setpriv', '--pdeathsig', 'KILL'] : [];
}

/** One server program on a fixed port, with a folder of its own. It ends with its scope. */
export class ServerProcess {
  readonly port: number;
  /** For its configuration and data. Goes away with the scope. */
  readonly folder: string;
  #command: Command | undefined;
  #child: ChildProcess | undefined;

  private constructor(port: number) {
    this.port = port;
    this.folder = mkdtempSync(join(tmpdir(), 'litestream-server-'));
    // Servers that give up their rights have to get in.
    chmodSync(this.folder, 0o755);
  }

  /** A port and a folder; nothing runs yet. */
  static async reserve(scope: Scope): Promise<ServerProcess> {
    const server = new ServerProcess(await freePort());
    scope.after(async () => {
      await server.kill();
      rmSync(server.folder, { recursive: true, force: true, maxRetries: 5 });
    });
    return server;
  }

  get running(): boolean {
    const child = this.#child;
    return child?.pid !== undefined && child.exitCode === null && child.signalCode === null;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** What the server printed, all its lives together. */
  get log(): string {
    const path = join(this.folder, 'log');
    return existsSync(path) ? readFileSync(path, 'utf8') : '';
  }

  /** Starts the server, with the command of the last time if none is given, and waits until it accepts connections. */
  async start(command: Command | undefined = this.#command): Promise<void> {
    if (command === undefined) throw new Error('no command to start');
    this.#command = command;
    const { program, args, env } = command;
    const log = openSync(join(this.folder, 'log'), 'a');
    const [file = '', ...rest] = [...dieWithUs(), program, ...args];
    const child = spawn(file, rest, {
      cwd: this.folder,
      detached: true,
      env: { ...cleanEnv(), ...env },
      stdio: ['ignore', log, log],
    });
    closeSync(log);
    child.on('error', () => undefined);
    this.#child = child;
    process.once('exit', this.#killNow);
    await waitFor(
      () => {
        if (!this.running) throw new Error(`${program} ended by itself:\n${this.log}`);
        return isListening(this.port);
      },
      { what: `${program} to accept connections:\n${this.log}`, timeoutMs: START_MS_MAX },
    );
  }

  /** Ends the server at once, without a word (see {@link Command.gentle}). Its data stays. */
  async kill(): Promise<void> {
    process.off('exit', this.#killNow);
    if (this.#command?.gentle === true) {
      this.#signal('SIGTERM');
      await this.#ended().catch(() => undefined);
    }
    this.#signal('SIGKILL');
    await this.#ended();
  }

  /** Kills it and starts it again, on the same port with the same data. */
  async restart(): Promise<void> {
    await this.kill();
    await this.start();
  }

  /** Stops the server in its tracks: connections stay, nothing answers. */
  pause(): void {
    this.#signal('SIGSTOP');
  }

  resume(): void {
    this.#signal('SIGCONT');
  }

  readonly #killNow = (): void => {
    this.#signal('SIGKILL');
  };

  #signal(signal: NodeJS.Signals): void {
    const pid = this.#child?.pid;
    if (pid === undefined) return;
    for (const target of [-pid, ...descendantsOf(pid)])
      try {
        process.kill(target, signal);
      } catch {
        // Nothing of it is left.
      }
  }

  async #ended(): Promise<void> {
    await waitFor(() => !this.running, {
      what: `the server on port ${this.port} to end`,
      timeoutMs: STOP_MS_MAX,
    });
  }
}
