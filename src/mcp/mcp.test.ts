import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { describe, it, type TestContext } from 'node:test';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { abortError, type Clock, systemClock } from '../lib/clock.ts';
import { noopLogger } from '../telemetry/index.ts';
import { waitFor } from '../../test/support/wait.ts';
import { type CommandOutcome, type CommandRequest, type McpServer, startMcp } from './index.ts';

type Run = (request: CommandRequest) => Promise<CommandOutcome> | CommandOutcome;

interface Bench {
  readonly server: McpServer;
  readonly port: number;
  /** Command lines so far, words joined by blanks. */
  readonly lines: string[];
}

const echo: Run = ({ args }) => ({ output: `${args.join(' ')}\n`, failure: '' });

/** Time stands still: whoever waits for it waits for ever. */
const frozen: Clock = { ...systemClock, timer: () => ({ cancel: () => undefined }) };

async function bench(t: TestContext, run: Run = echo, reset?: string): Promise<Bench> {
  const lines: string[] = [];
  const { port, server } = await startMcp({
    address: '127.0.0.1:0',
    logger: noopLogger,
    clock: frozen,
    configPath: '/etc/litestream.yml',
    rawConfig: false,
    refuseReset: () => Promise.resolve(reset),
    runCommand: async (command) => {
      lines.push(command.args.join(' '));
      return run(command);
    },
  });
  t.after(() => server.close());
  return { server, port, lines };
}

async function connect(t: TestContext, { port }: Bench): Promise<Client> {
  const client = new Client({ name: 'test', version: '1' });
  const transport = new StreamableHTTPClientTransport(new URL(`http://127.0.0.1:${port}/`));
  // The SDK's own types disagree under exactOptionalPropertyTypes.
  await client.connect(transport as Parameters<Client['connect']>[0]);
  t.after(() => client.close());
  return client;
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly text: string;
}

const SESSION = 'mcp-session-01234567-89ab-4cde-8f01-23456789abcd';
const JSON_TYPE = { 'content-type': 'application/json', 'mcp-session-id': SESSION };

async function ask(
  port: number,
  method: string,
  body: unknown,
  headers: Record<string, string> = JSON_TYPE,
): Promise<Answer> {
  const sent = request({ host: '127.0.0.1', port, method, path: '/', headers, agent: false });
  sent.end(body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body));
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  response.setEncoding('utf8');
  let text = '';
  for await (const chunk of response) text += String(chunk);
  return { status: response.statusCode ?? 0, headers: response.headers, text };
}

function rpc(method: string, params?: unknown): Record<string, unknown> {
  return { jsonrpc: '2.0', id: 7, method, ...(params === undefined ? {} : { params }) };
}

function textOf(result: Awaited<ReturnType<Client['callTool']>>): string {
  const content = result.content as { text: string }[];
  return content.map(({ text }) => text).join();
}

describe('mcp with the SDK’s client', () => {
  it('lists the tools and calls one', async (t) => {
    const scene = await bench(t);
    const client = await connect(t, scene);
    assert.equal(client.getServerVersion()?.name, 'Litestream MCP Server');
    await client.ping();
    const { tools } = await client.listTools();
    assert.deepEqual(
      tools.map(({ name }) => name),
      ['databases', 'info', 'ltx', 'reset', 'restore', 'status', 'version'].map(
        (name) => `litestream_${name}`,
      ),
    );
    const writing = tools.filter(({ annotations }) => annotations?.readOnlyHint === false);
    assert.deepEqual(
      writing.map(({ name }) => name),
      ['litestream_reset', 'litestream_restore'],
    );
    assert.equal(textOf(await client.callTool({ name: 'litestream_version' })), 'version\n');
    await assert.rejects(
      client.callTool({ name: 'nope' }),
      /tool 'nope' not found: tool not found/,
    );
  });

  it('makes one command line of the arguments, booleans included, and takes no flag from a path', async (t) => {
    const scene = await bench(t);
    const client = await connect(t, scene);
    const call = async (name: string, given: Record<string, unknown>): Promise<void> => {
      await client.callTool({ name: `litestream_${name}`, arguments: given });
    };
    const file = '-config /etc/litestream.yml';
    await call('restore', { path: '/a', o: '/o', txid: '01', if_db_not_exists: true });
    await call('restore', { path: '/a', if_db_not_exists: false, if_replica_exists: '1' });
    await call('restore', { path: 'file:///r', o: '/o', if_replica_exists: 0, parallelism: 4 });
    await call('restore', { path: '/a', if_db_not_exists: 'perhaps', parallelism: '4' });
    await call('ltx', { path: '-json', config: '/c.yml' });
    await call('status', {});
    await call('databases', { config: 3 });
    assert.deepEqual(scene.lines, [
      `restore -o /o ${file} -txid 01 -if-db-not-exists=true -- /a`,
      `restore ${file} -if-db-not-exists=false -if-replica-exists=true -- /a`,
      'restore -o /o -if-replica-exists=false -- file:///r',
      `restore ${file} -parallelism 4 -- /a`,
      'ltx -config /c.yml -- -json',
      `status ${file}`,
      `databases ${file}`,
    ]);
  });

  it('shows what a failed command printed', async (t) => {
    const scene = await bench(t, () => ({ output: 'Error: no\n', failure: 'exit status 1' }));
    const client = await connect(t, scene);
    const result = await client.callTool({ name: 'litestream_ltx' });
    assert.equal(result.isError, true);
    assert.equal(textOf(result), 'Error: no: exit status 1');
    const info = await client.callTool({ name: 'litestream_info' });
    assert.equal(textOf(info), 'Failed to get version info: Error: no: exit status 1');
  });

  it('reports on databases with blanks in their paths, and on those that fail', async (t) => {
    const scene = await bench(t, ({ args }) => {
      if (args.includes('-json')) return { output: '[{"path":"/a b"},{"path":"/c"}]', failure: '' };
      if (args.at(-1) === '/c') return { output: 'Error: gone\n', failure: 'exit status 1' };
      return { output: `${args[0]}\n`, failure: '' };
    });
    const client = await connect(t, scene);
    assert.equal(
      textOf(await client.callTool({ name: 'litestream_info' })),
      [
        '=== Litestream Status Report ===\n\nVersion Information:\nversion\n',
        'Current Config Path:\n/etc/litestream.yml\n',
        'Databases:\ndatabases\n',
        'LTX Files:\nDatabase: /a b\nltx\n',
        'Failed to get LTX files for /c: exit status 1\nError: gone\n\n',
      ].join('\n'),
    );
  });

  it('OPS-21: runs no reset of a database that must keep its state', async (t) => {
    const scene = await bench(t, echo, 'not now');
    const client = await connect(t, scene);
    const result = await client.callTool({ name: 'litestream_reset', arguments: { path: '/a' } });
    assert.equal(result.isError, true);
    assert.equal(textOf(result), 'Error: not now');
    assert.deepEqual(scene.lines, []);
  });

  it('ends a command whose client has gone or has cancelled it', async (t) => {
    let running = 0;
    const scene = await bench(t, ({ signal }) => {
      running += 1;
      return new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => {
          running -= 1;
          reject(abortError(signal));
        });
      });
    });
    const client = await connect(t, scene);
    const stop = new AbortController();
    const call = client.callTool({ name: 'litestream_version' }, undefined, {
      signal: stop.signal,
    });
    await waitFor(() => running === 1, { what: 'the command to run' });
    stop.abort();
    await assert.rejects(call);
    await waitFor(() => running === 0, { what: 'the command to be stopped' });
    const headers = JSON_TYPE;
    const sent = request({ host: '127.0.0.1', port: scene.port, method: 'POST', headers });
    sent.on('error', () => undefined);
    sent.end(JSON.stringify(rpc('tools/call', { name: 'litestream_version' })));
    await waitFor(() => running === 1, { what: 'the command to run' });
    sent.destroy();
    await waitFor(() => running === 0, { what: 'the command to be stopped' });
  });
});

describe('mcp over http', () => {
  it('answers strange messages with an error and goes on', async (t) => {
    const { port } = await bench(t);
    const code = async (message: unknown): Promise<unknown> => {
      const { status, text } = await ask(port, 'POST', message);
      if (text === '') return status;
      return (JSON.parse(text) as { error?: { code: number } }).error?.code;
    };
    for (const body of ['', '{', '[]', '7', 'null', '[{"jsonrpc":"2.0","id":1,"method":"ping"}]']) {
      assert.equal(await code(body), -32_700, body);
    }
    assert.equal(await code({ ...rpc('ping'), jsonrpc: '1.0' }), -32_600);
    assert.equal(await code({ ...rpc('ping'), id: 1.5 }), -32_600);
    assert.equal(await code({ ...rpc('ping'), id: {} }), -32_600);
    assert.equal(await code({ ...rpc('ping'), method: 7 }), -32_600);
    assert.equal(await code(rpc('ping', { _meta: 7 })), -32_600);
    assert.equal(await code(rpc('tools/call', { arguments: 7 })), -32_602);
    assert.equal(await code(rpc('logging/setLevel', { level: 'info' })), -32_603);
    assert.equal(await code(rpc('resources/list')), -32_601);
    assert.equal(await code(rpc('prompts/list')), -32_601);
    assert.equal(await code(rpc('constructor')), -32_601);
    assert.equal(await code({ jsonrpc: '2.0', id: 1, result: {} }), 202);
    assert.equal(await code({ jsonrpc: '2.0', method: 'notifications/any' }), 202);
    assert.equal(await code({ ...rpc('ping'), more: 1 }), undefined);
    const { text } = await ask(port, 'POST', { ...rpc('ping', null), id: 'x' });
    assert.equal(text, '{"jsonrpc":"2.0","id":"x","result":{}}\n');
  });

  it('agrees on a version with clients that ask for an unknown one or tell little of themselves', async (t) => {
    const { port } = await bench(t);
    const version = async (params?: unknown): Promise<string> => {
      const { text } = await ask(port, 'POST', rpc('initialize', params), {
        'content-type': 'application/json',
      });
      const { result } = JSON.parse(text) as { result: { protocolVersion: string } };
      return result.protocolVersion;
    };
    assert.equal(await version(), '2025-03-26');
    assert.equal(await version({ protocolVersion: '1999-01-01', clientInfo: 7 }), '2025-03-26');
    assert.equal(await version({ protocolVersion: '2024-11-05' }), '2024-11-05');
  });

  it('gives the same number to requests of several clients at a time', async (t) => {
    const scene = await bench(t);
    const answers = await Promise.all(
      Array.from({ length: 8 }, () =>
        ask(scene.port, 'POST', rpc('tools/call', { name: 'litestream_version' })),
      ),
    );
    for (const { text } of answers) assert.match(text, /"id":7,"result":.*version/);
  });

  it('refuses pages of other sites and bodies without end', async (t) => {
    const { port } = await bench(t);
    const status = async (origin: string): Promise<number> =>
      (await ask(port, 'POST', rpc('ping'), { ...JSON_TYPE, origin })).status;
    for (const origin of ['http://localhost:3', 'http://127.0.0.1', 'http://[::1]:8'])
      assert.equal(await status(origin), 200, origin);
    for (const origin of ['https://evil.example', 'null', 'http://127.0.0.1.evil.example', 'x'])
      assert.equal(await status(origin), 403, origin);
    assert.equal((await ask(port, 'POST', ' '.repeat(5 << 20))).status, 413);
  });

  it('OPS-23: an open event stream does not delay the end', async (t) => {
    const scene = await bench(t);
    const sent = request({ host: '127.0.0.1', port: scene.port, method: 'GET', agent: false });
    sent.end();
    const [stream] = (await once(sent, 'response')) as [IncomingMessage];
    assert.equal(stream.statusCode, 200);
    assert.equal(stream.headers['content-type'], 'text/event-stream');
    stream.resume();
    const ended = once(stream, 'end');
    await scene.server.close();
    await ended;
  });
});
