import { readdir, readFile } from 'node:fs/promises';
import { Counter, Gauge, type Registry } from 'prom-client';
import { yieldToLoop } from '../../lib/clock.ts';

/** What the program knows of its own process. */
export interface ProcessFacts {
  /** Seconds since the Unix epoch. */
  readonly startedAt: number;
  /** Of Node.js, with the leading `v`. */
  readonly nodeVersion: string;
  /** Milliseconds that never go back. */
  monotonic(): number;
  /** User and system time so far, in seconds. */
  cpuSeconds(): number;
  /** Bytes. */
  memory(): {
    readonly resident: number;
    readonly heapTotal: number;
    readonly heapUsed: number;
    readonly external: number;
  };
}

/** Bytes that stand for "unlimited", as Go's client prints it. */
const UNLIMITED = 2 ** 64;

/** The `process_*` family under its usual names (all of it on Linux), and the memory of Node.js. Spec: interfaces 4.3. */
export class ProcessMetrics {
  readonly #facts: ProcessFacts;
  readonly #cpu: Counter;
  readonly #gauges = new Map<string, Gauge>();
  #cpuSeconds = 0;

  constructor(facts: ProcessFacts, registry: Registry) {
    this.#facts = facts;
    const registers = [registry];
    this.#cpu = new Counter({
      name: 'process_cpu_seconds_total',
      help: 'Total user and system CPU time spent in seconds.',
      registers,
    });
    const texts = {
      process_max_fds: 'Maximum number of open file descriptors.',
      process_open_fds: 'Number of open file descriptors.',
      process_resident_memory_bytes: 'Resident memory size in bytes.',
      process_start_time_seconds: 'Start time of the process since unix epoch in seconds.',
      process_virtual_memory_bytes: 'Virtual memory size in bytes.',
      process_virtual_memory_max_bytes: 'Maximum amount of virtual memory available in bytes.',
      nodejs_eventloop_lag_seconds: 'Lag of the event loop in seconds.',
      nodejs_external_memory_bytes: 'Node.js external memory size in bytes.',
      nodejs_heap_size_total_bytes: 'Process heap size from Node.js in bytes.',
      nodejs_heap_size_used_bytes: 'Process heap size used from Node.js in bytes.',
    };
    for (const [name, help] of Object.entries(texts)) {
      const gauge = new Gauge({ name, help, registers });
      // No series before the first value: a system that does not tell shows nothing.
      gauge.remove();
      this.#gauges.set(name, gauge);
    }
    new Gauge({
      name: 'nodejs_version_info',
      help: 'Node.js version info.',
      labelNames: ['version'],
      registers,
    }).set({ version: facts.nodeVersion }, 1);
  }

  /** Takes all values. */
  async refresh(): Promise<void> {
    const facts = this.#facts;
    const cpuSeconds = facts.cpuSeconds();
    this.#cpu.inc(Math.max(0, cpuSeconds - this.#cpuSeconds));
    this.#cpuSeconds = cpuSeconds;
    const memory = facts.memory();
    this.#set('process_start_time_seconds', facts.startedAt);
    this.#set('process_resident_memory_bytes', memory.resident);
    this.#set('nodejs_heap_size_total_bytes', memory.heapTotal);
    this.#set('nodejs_heap_size_used_bytes', memory.heapUsed);
    this.#set('nodejs_external_memory_bytes', memory.external);
    await this.#refreshFromSystem();
    const start = facts.monotonic();
    await yieldToLoop();
    this.#set('nodejs_eventloop_lag_seconds', (facts.monotonic() - start) / 1000);
  }

  async #refreshFromSystem(): Promise<void> {
    try {
      const stat = await readFile('/proc/self/stat', 'utf8');
      // The second field is the command's name in parentheses; behind it the fields are plain.
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      this.#set('process_virtual_memory_bytes', Number(fields[20]));
      const open = await readdir('/proc/self/fd');
      this.#set('process_open_fds', open.length - 1);
      const limits = await readFile('/proc/self/limits', 'utf8');
      this.#set('process_max_fds', limitOf(limits, 'Max open files'));
      this.#set('process_virtual_memory_max_bytes', limitOf(limits, 'Max address space'));
    } catch {
      // Not Linux, or no /proc: the family is smaller there.
    }
  }

  #set(name: string, value: number): void {
    if (Number.isFinite(value)) this.#gauges.get(name)?.set(value);
  }
}

function limitOf(limits: string, name: string): number {
  const line = limits.split('\n').find((text) => text.startsWith(name)) ?? '';
  const [soft = ''] = line.slice(name.length).trim().split(/\s+/);
  return soft === 'unlimited' ? UNLIMITED : Number.parseInt(soft, 10);
}
