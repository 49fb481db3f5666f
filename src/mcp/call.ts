import { errorMessage } from '../lib/errors.ts';
import { Mutex } from '../lib/mutex.ts';
import type { Logger } from '../telemetry/index.ts';
import {
  type Arguments,
  configFlags,
  positional,
  stringOf,
  type Tool,
  type ToolContext,
} from './tools.ts';

/** How a command ended. */
export interface CommandOutcome {
  /** What it printed, standard output and error in the order of writing. */
  readonly output: string;
  /** Empty for success, else such as `exit status 1`. */
  readonly failure: string;
}

export interface CommandRequest {
  readonly args: readonly string[];
  /** Ends the command. */
  readonly signal: AbortSignal;
  /** True if only standard output is wanted. */
  readonly resultOnly?: boolean;
}

/** What tools work with. */
export interface ToolPorts extends ToolContext {
  readonly logger: Logger;
  /** Runs a command of this very program to its end. */
  readonly runCommand: (request: CommandRequest) => Promise<CommandOutcome>;
  /** Why the local state of a database must not be deleted now; undefined if it may be. */
  readonly refuseReset: (path: string) => Promise<string | undefined>;
}

/** The result of `tools/call`. */
export interface ToolResult {
  readonly [key: string]: unknown;
  readonly content: readonly { readonly type: 'text'; readonly text: string }[];
  readonly isError?: true;
}

function success(text: string): ToolResult {
  return { content: [{ type: 'text', text }] };
}

function failed(text: string): ToolResult {
  return { content: [{ type: 'text', text }], isError: true };
}

function failureText({ output, failure }: CommandOutcome): string {
  return `${output.trim()}: ${failure}`;
}

/** Paths in the answer of `databases -json`. */
function pathsOf(json: string): string[] {
  const rows: unknown = JSON.parse(json);
  if (!Array.isArray(rows)) return [];
  return rows.flatMap((row: unknown) =>
    typeof row === 'object' && row !== null && 'path' in row ? [String(row.path)] : [],
  );
}

/**
 * Calls tools. One command runs at a time, and one that writes beside it: what serves assistants must not take the machine away
 * from replication.
 */
export class ToolRunner {
  readonly #ports: ToolPorts;
  readonly #reading = new Mutex();
  readonly #writing = new Mutex();

  constructor(ports: ToolPorts) {
    this.#ports = ports;
  }

  /** @throws LitestreamError `ERR_ABORTED` when the signal fires. */
  async call(tool: Tool, given: Arguments, signal: AbortSignal): Promise<ToolResult> {
    const release = await (tool.writes ? this.#writing : this.#reading).acquire(signal);
    try {
      if (tool.commandLine === undefined) return await this.#report(given, signal);
      if (tool.name === 'litestream_reset') {
        const reason = await this.#ports.refuseReset(stringOf(given, 'path') ?? '');
        if (reason !== undefined) return failed(`Error: ${reason}`);
      }
      const args = tool.commandLine(given, this.#ports);
      const outcome = await this.#ports.runCommand({ args, signal });
      return outcome.failure === '' ? success(outcome.output) : failed(failureText(outcome));
    } finally {
      release();
    }
  }

  /** `litestream_info`: several commands in one text. */
  async #report(given: Arguments, signal: AbortSignal): Promise<ToolResult> {
    const { logger, runCommand } = this.#ports;
    const flags = configFlags(given, this.#ports);
    const version = await runCommand({ args: ['version'], signal });
    if (version.failure !== '') {
      logger.log('error', 'Failed to get version info', { error: failureText(version) });
      return failed(`Failed to get version info: ${failureText(version)}`);
    }
    const databases = await runCommand({ args: ['databases', ...flags], signal });
    if (databases.failure !== '') {
      logger.log('error', 'Failed to get databases info', { error: failureText(databases) });
      return failed(`Failed to get databases info: ${failureText(databases)}`);
    }
    const parts = [
      '=== Litestream Status Report ===\n',
      `Version Information:\n${version.output}`,
      `Current Config Path:\n${flags[1] ?? ''}\n`,
      `Databases:\n${databases.output}`,
      `LTX Files:\n${(await this.#files(flags, signal)).join('\n')}`,
    ];
    return success(`${parts.join('\n')}\n`);
  }

  /** What each database has in its replica. */
  async #files(flags: readonly string[], signal: AbortSignal): Promise<string[]> {
    const { logger, runCommand } = this.#ports;
    const args = ['databases', ...flags, '-json'];
    const listed = await runCommand({ args, signal, resultOnly: true });
    let paths: string[] = [];
    try {
      paths = pathsOf(listed.output);
    } catch (error) {
      logger.log('error', 'Failed to get databases info', { error: errorMessage(error) });
    }
    const chosen = flags[1] === '' ? [] : flags;
    const parts: string[] = [];
    for (const path of paths) {
      const found = await runCommand({ args: ['ltx', ...chosen, ...positional(path)], signal });
      const head =
        found.failure === ''
          ? `Database: ${path}`
          : `Failed to get LTX files for ${path}: ${found.failure}`;
      parts.push(`${head}\n${found.output}`);
    }
    return parts;
  }
}
