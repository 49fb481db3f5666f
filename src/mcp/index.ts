import type { ToolPorts } from './call.ts';
import type { McpServer, McpServerInit } from './http-server.ts';
import type { StdioInit } from './stdio.ts';

export type { CommandOutcome, CommandRequest, ToolPorts } from './call.ts';
export type { McpServer } from './http-server.ts';

export interface McpInit extends McpServerInit, ToolPorts {}

/** Loads the SDK, and answers over standard input and output until the input ends. Spec: interfaces 5. */
export async function runMcpStdio(init: StdioInit & ToolPorts): Promise<void> {
  const [{ serveStdio }, { McpProtocol }, { ToolRunner }] = await Promise.all([
    import('./stdio.ts'),
    import('./protocol.ts'),
    import('./call.ts'),
  ]);
  const runner = new ToolRunner(init);
  await serveStdio(
    new McpProtocol((tool, given, signal) => runner.call(tool, given, signal)),
    init,
  );
}

/**
 * Opens the MCP listener. Loads the SDK for it.
 *
 * @returns the server, and the port it listens on
 * @throws LitestreamError `ERR_IO`, `ERR_CONFIG`: `listen tcp …`
 *
 * Spec: interfaces 5.
 */
export async function startMcp(
  init: McpInit,
): Promise<{ readonly server: McpServer; readonly port: number }> {
  const [{ McpServer: Server }, { McpProtocol }, { ToolRunner }] = await Promise.all([
    import('./http-server.ts'),
    import('./protocol.ts'),
    import('./call.ts'),
  ]);
  const runner = new ToolRunner(init);
  const protocol = new McpProtocol((tool, given, signal) => runner.call(tool, given, signal));
  const server = new Server(init, protocol);
  return { server, port: await server.start() };
}
