/** Windows has no SIGTERM: Ctrl-C, Ctrl-Break, and the end of the console window, which leaves a few seconds. */
const HANDLED: readonly NodeJS.Signals[] =
  process.platform === 'win32' ? ['SIGINT', 'SIGBREAK', 'SIGHUP'] : ['SIGINT', 'SIGTERM'];

/** Signals that mean nothing here. Unheard, the first opens a debugger port and the second ends the program. */
const IGNORED: readonly NodeJS.Signals[] =
  process.platform === 'win32' ? [] : ['SIGUSR1', 'SIGUSR2'];

function ignore(): void {
  // Heard, and that is all.
}

/** Receives the signals that stop the program; they are kept until somebody takes them. */
export class SignalQueue implements Disposable {
  readonly #pending: NodeJS.Signals[] = [];
  #handler: ((signal: NodeJS.Signals) => void) | undefined;
  readonly #listener = (signal: NodeJS.Signals): void => {
    this.#pending.push(signal);
    this.#deliver();
  };

  constructor() {
    for (const signal of HANDLED) process.on(signal, this.#listener);
    for (const signal of IGNORED) process.on(signal, ignore);
  }

  /** From now on signals go to this handler, those that wait first. It may replace itself. */
  handle(handler: (signal: NodeJS.Signals) => void): void {
    this.#handler = handler;
    this.#deliver();
  }

  /** From now on signals wait. */
  hold(): void {
    this.#handler = undefined;
  }

  /** Forgets the signals that wait. */
  clear(): void {
    this.#pending.length = 0;
  }

  /** The next signal. Later ones wait. */
  next(): Promise<NodeJS.Signals> {
    return new Promise((resolve) => {
      this.handle((signal) => {
        this.hold();
        resolve(signal);
      });
    });
  }

  [Symbol.dispose](): void {
    for (const signal of HANDLED) process.off(signal, this.#listener);
    for (const signal of IGNORED) process.off(signal, ignore);
  }

  #deliver(): void {
    for (;;) {
      const handler = this.#handler;
      if (handler === undefined) return;
      const signal = this.#pending.shift();
      if (signal === undefined) return;
      handler(signal);
    }
  }
}
