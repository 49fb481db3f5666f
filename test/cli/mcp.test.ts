import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, it, type TestContext } from 'node:test';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { ask } from '../support/control.ts';
import { Daemon, OURS, runProgram, startedByOthers } from '../support/program.ts';
import { assertNoSecret } from '../support/secrets.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait.ts';

interface Scene {
  readonly folder: string;
  readonly path: string;
  readonly config: string;
  readonly app: DatabaseSync;
  readonly daemon: Daemon;
  readonly port: number;
  readonly call: (name: string, given?: Record<string, unknown>) => Promise<Called>;
}

interface Called {
  readonly text: string;
  readonly failed: boolean;
}

type Result = Awaited<ReturnType<Client['callTool']>>;

function calledOf(result: Result): Called {
  assertNoSecret('an answer of the MCP server', JSON.stringify(result));
  const content = result.content as { text: string }[];
  return { text: content.map(({ text }) => text).join(), failed: result.isError === true };
}

async function connect(t: TestContext, port: number): Promise<Client> {
  const client = new Client({ name: 'test', version: '1' });
  const transport = new StreamableHTTPClientTransport(new URL(`http://127.0.0.1:${port}/`));
  await client.connect(transport as Parameters<Client['connect']>[0]);
  t.after(() => client.close());
  return client;
}

/** A daemon that replicates a database in a folder whose name has a blank, and a client of it. */
async function scene(t: TestContext): Promise<Scene> {
  const folder = join(tempDir(t), 'a folder');
  mkdirSync(folder);
  const path = join(folder, 'app.db');
  const app = new DatabaseSync(path);
  t.after(() => app.isOpen && app.close());
  app.exec('PRAGMA journal_mode = wal; CREATE TABLE t (x); INSERT INTO t VALUES (1)');
  const config = join(folder, 'litestream.yml');
  writeFileSync(
    config,
    `mcp-addr: "127.0.0.1:0"
logging: { level: debug }
socket: { enabled: true, path: ${JSON.stringify(join(folder, 's'))} }
dbs: [{ path: ${JSON.stringify(path)}, replica: { path: ${JSON.stringify(join(folder, 'replica'))}, sync-interval: 20ms } }]
`,
  );
  const daemon = new Daemon(t, OURS, 'replicate', '-config', config);
  await waitFor(() => existsSync(join(folder, 'replica/ltx/0')), { what: 'a first file' });
  const [, port = ''] = /msg="mcp server listening" port=(\d+)/.exec(daemon.log) ?? [];
  const client = await connect(t, Number(port));
  return {
    folder,
    path,
    config,
    app,
    daemon,
    port: Number(port),
    call: async (name, given = {}) =>
      calledOf(await client.callTool({ name: `litestream_${name}`, arguments: given })),
  };
}

/** A request to the control socket, which has to succeed. */
async function control({ folder, path }: Scene, endpoint: string): Promise<void> {
  const body = { path, timeout: 20, wait: true };
  const { status, text } = await ask(join(folder, 's'), 'POST', endpoint, body);
  assert.equal(status, 200, text);
}

function assertRestores({ folder, app }: Scene): void {
  const output = join(folder, 'out.db');
  const done = runProgram(OURS, 'restore', '-o', output, `file://${join(folder, 'replica')}`);
  assert.equal(done.status, 0, done.stderr);
  const copy = new DatabaseSync(output);
  const all = 'SELECT x FROM t ORDER BY x';
  assert.deepEqual(copy.prepare(all).all(), app.prepare(all).all());
  copy.close();
}

describe('mcp', () => {
  it('OPS-23: answers what the commands print, restores with booleans, and ends at once with a stream open', async (t) => {
    const at = await scene(t);
    const { call, config, daemon, folder, path, port } = at;
    for (const [tool, ...args] of [
      ['version'],
      ['databases', '-config', config],
      ['status', '-config', config],
    ] as const) {
      assert.equal((await call(tool)).text, runProgram(OURS, tool, ...args).stdout);
    }
    const info = await call('info');
    assert.match(info.text, /^Database: .*\/a folder\/app\.db$/m);
    const o = join(folder, 'restored.db');
    const given = { path, o, if_db_not_exists: true, if_replica_exists: false };
    assert.deepEqual(await call('restore', given), { text: '', failed: false });
    assert.equal((await call('restore', given)).failed, false);
    const again = await call('restore', { ...given, if_db_not_exists: false });
    assert.ok(again.failed);
    assert.match(again.text, /output path already exists.*: exit status 1$/s);
    const stream = request({ host: '127.0.0.1', port, method: 'GET', agent: false });
    stream.on('error', () => undefined);
    stream.end();
    await once(stream, 'response');
    await daemon.stop();
    assert.doesNotMatch(daemon.log, /level=ERROR/);
    assertRestores(at);
  });

  it('OPS-21: no reset destroys a live replication, and one of a stopped database begins anew', async (t) => {
    const at = await scene(t);
    const { app, call, daemon, folder, path } = at;
    const link = join(folder, 'link.db');
    symlinkSync(path, link);
    for (const name of [path, link, `${folder}/../a folder/app.db`, `sqlite://${path}`]) {
      const refused = await call('reset', { path: name });
      assert.ok(refused.failed, name);
      assert.match(refused.text, /database is being replicated by this process; stop it first/);
    }
    const byHand = runProgram(OURS, 'reset', path);
    assert.equal(byHand.status, 1);
    assert.match(byHand.stderr, /^Error: database is being replicated; stop it first: /);
    app.exec('INSERT INTO t VALUES (2)');
    await control(at, '/sync');
    await control(at, '/stop');
    const done = await call('reset', { path });
    assert.equal(done.failed, false, done.text);
    assert.match(
      done.text,
      /Reset complete\. Next replication sync will create a fresh snapshot\./,
    );
    app.exec('INSERT INTO t VALUES (3)');
    await control(at, '/start');
    await control(at, '/sync');
    app.exec('INSERT INTO t VALUES (4)');
    await daemon.stop();
    assertRestores(at);
  });

  it('over standard input and output: the same tools, and a live replication is safe', async (t) => {
    const { config, folder, path } = await scene(t);
    const command = startedByOthers(OURS, 'mcp-stdio', '-config', config);
    const transport = new StdioClientTransport({ ...command, stderr: 'pipe' });
    let complaints = '';
    transport.stderr?.on('data', (chunk) => {
      complaints += String(chunk);
    });
    const client = new Client({ name: 'test', version: '1' });
    await client.connect(transport);
    t.after(() => client.close());
    const names = (await client.listTools()).tools.map(({ name }) => name);
    assert.ok(names.includes('litestream_restore'), names.join());
    const call = async (name: string, given: Record<string, unknown>): Promise<Called> => {
      return calledOf(await client.callTool({ name: `litestream_${name}`, arguments: given }));
    };
    const databases = await call('databases', {});
    assert.equal(databases.text, runProgram(OURS, 'databases', '-config', config).stdout);
    const o = join(folder, 'restored.db');
    assert.deepEqual(await call('restore', { path, o }), { text: '', failed: false });
    assert.ok(existsSync(o));
    const reset = await call('reset', { path });
    assert.ok(reset.failed);
    assert.match(reset.text, /database is being replicated; stop it first/);
    assertNoSecret('stderr of mcp-stdio', complaints);
  });

  it('over standard input and output: ends with its input, and says what is no message', (t) => {
    const messages = [
      'nonsense',
      '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"litestream_version"}}',
      '',
      '{"jsonrpc":"2.0","method":"notifications/initialized"}',
    ];
    const input = `${messages.join('\n')}\n`;
    const program = { ...OURS, cwd: tempDir(t), input };
    const { status, stdout, stderr } = runProgram(program, 'mcp-stdio');
    const [first, second, ...rest] = stdout.trimEnd().split('\n');
    assert.deepEqual(JSON.parse(first ?? ''), {
      jsonrpc: '2.0',
      id: null,
      error: { code: -32_700, message: 'request body is not valid json' },
    });
    assert.match(second ?? '', /^\{"jsonrpc":"2.0","id":1,"result":\{"content":\[/);
    assert.deepEqual([rest, stderr, status], [[], '', 0]);
  });
});
