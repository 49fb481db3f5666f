import { normalizePath } from '../../config/index.ts';
import type { Store } from '../../engine/index.ts';
import { errorMessage } from '../../lib/errors.ts';
import type { McpServer } from '../../mcp/index.ts';
import type { Logger } from '../../telemetry/index.ts';
import type { Io } from '../command.ts';
import type { ReplicateRequest } from './request.ts';
import { runTool } from './run-tool.ts';

export interface AssistantsInit {
  readonly request: ReplicateRequest;
  readonly io: Io;
  readonly logger: Logger;
}

/** Serves assistants on `mcp-addr`, if that is configured. */
export class Assistants {
  readonly #init: AssistantsInit;
  #server: McpServer | undefined;
  #store: Store | undefined;

  constructor(init: AssistantsInit) {
    this.#init = init;
  }

  /** Opens the listener. A failure is a log line. */
  async start(): Promise<void> {
    const { io, logger, request } = this.#init;
    const address = request.config.mcpAddr;
    if (address === '' || request.once) return;
    logger.log('info', 'Starting MCP Streamable HTTP server', { addr: address });
    try {
      const { startMcp } = await import('../../mcp/index.ts');
      const { port, server } = await startMcp({
        address,
        logger,
        clock: io.clock,
        configPath: request.configPath,
        rawConfig: request.rawConfig,
        runCommand: (command) => runTool(command, io.environment),
        refuseReset: (path) => this.#refuseReset(path),
      });
      this.#server = server;
      logger.log('debug', 'mcp server listening', { port });
    } catch (error) {
      logger.log('error', 'MCP server error', { error: errorMessage(error) });
    }
  }

  /** From now on it is known which databases are replicated. */
  watch(store: Store): void {
    this.#store = store;
  }

  /** Nothing is known any more. */
  quiet(): void {
    this.#store = undefined;
  }

  /** Never throws. */
  async close(): Promise<void> {
    await this.#server?.close();
  }

  /** Without its local state a database under custody could not be replicated any further. */
  async #refuseReset(argument: string): Promise<string | undefined> {
    if (argument === '') return undefined;
    if (this.#store === undefined) return 'litestream is starting or stopping; try again later';
    const { fileSystem } = this.#init.io;
    const stat = (path: string): ReturnType<typeof fileSystem.stat> =>
      fileSystem.stat('mcp:stat', path).catch(() => undefined);
    const path = normalizePath(argument);
    const named = await stat(path);
    for (const member of this.#store.observe()) {
      if (member.status === 'stopped') continue;
      const file = await stat(member.path);
      const same = named !== undefined && named.ino === file?.ino && named.dev === file.dev;
      if (same || member.path === path) {
        return 'database is being replicated by this process; stop it first';
      }
    }
    return undefined;
  }
}
