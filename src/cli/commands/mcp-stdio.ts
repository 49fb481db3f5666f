import { runMcpStdio } from '../../mcp/index.ts';
import { type Command, configFlags, defineCommand, limitPositionals } from '../command.ts';
import { commandLogger } from '../logging.ts';
import { runTool } from '../replicate/run-tool.ts';
import { SignalQueue } from '../signals.ts';

/** An assistant starts this itself. The daemon's own listener is `mcp-addr`. Spec: interfaces 5. */
export const command: Command = defineCommand({
  name: 'mcp-stdio',
  synopsis: ['mcp-stdio [flags]'],
  about:
    'Answers an assistant that speaks the Model Context Protocol over standard input and output, with the tools of mcp-addr.\n' +
    'No daemon is needed, and one that runs is not disturbed. Ends with its input.',
  flags: configFlags,
  async run({ values, positionals }, io) {
    limitPositionals(positionals, 0);
    using signals = new SignalQueue();
    const stop = new AbortController();
    signals.handle(() => stop.abort());
    await runMcpStdio({
      input: process.stdin,
      write: (text) => io.stdout.write(text),
      clock: io.clock,
      signal: stop.signal,
      // Standard output belongs to the protocol.
      logger: commandLogger(io, { toStderr: true }),
      configPath: values.config,
      rawConfig: values['no-expand-env'],
      runCommand: (request) => runTool(request, io.environment),
      // The command itself looks whether a daemon uses the state.
      refuseReset: () => Promise.resolve(undefined),
    });
    return 0;
  },
});
