import { writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { needServer } from './installed.ts';
import type { Scope } from './scope.ts';
import { ServerProcess } from './server-process.ts';

const BUCKET = 'testbucket';

export interface NatsServer {
  readonly server: ServerProcess;
  readonly port: number;
  /** `nats://127.0.0.1:PORT`, without credentials. */
  readonly url: string;
  /** An object store bucket. Exists unless `bucket: false` was asked for. */
  readonly bucket: string;
}

export interface NatsOptions {
  /** More lines for its configuration: authorization, tls. */
  readonly config?: string;
  /** What the `CONNECT` of the one who makes the bucket carries: user and pass, or auth_token. */
  readonly auth?: Readonly<Record<string, string>>;
  /** False: no bucket is made (and with TLS none can be made here). Default true. */
  readonly bucket?: boolean;
}

/** nats-server with JetStream in files: a restart keeps the objects. */
export async function startNatsServer(
  scope: Scope,
  { config = '', auth = {}, bucket = true }: NatsOptions = {},
): Promise<NatsServer | undefined> {
  const program = needServer(scope, 'nats-server');
  if (program === undefined) return undefined;
  const server = await ServerProcess.reserve(scope);
  const file = join(server.folder, 'nats.conf');
  const store = join(server.folder, 'jetstream');
  writeFileSync(
    file,
    `listen: "127.0.0.1:${server.port}"\njetstream { store_dir: "${store}" }\n${config}\n`,
  );
  await server.start({ program, args: ['-c', file] });
  if (bucket) await createBucket(server.port, auth);
  return { server, port: server.port, url: `nats://127.0.0.1:${server.port}`, bucket: BUCKET };
}

/** The stream that client libraries make for an object store bucket, by one request in the text protocol. */
async function createBucket(port: number, auth: Readonly<Record<string, string>>): Promise<void> {
  const stream = {
    name: `OBJ_${BUCKET}`,
    subjects: [`$O.${BUCKET}.C.>`, `$O.${BUCKET}.M.>`],
    storage: 'file',
    discard: 'new',
    allow_rollup_hdrs: true,
    allow_direct: true,
  };
  const body = JSON.stringify(stream);
  const hello = { verbose: false, pedantic: false, lang: 'test', version: '1', ...auth };
  const socket = connect(port, '127.0.0.1');
  try {
    socket.write(
      `CONNECT ${JSON.stringify(hello)}\r\nSUB _INBOX.made 1\r\n` +
        `PUB $JS.API.STREAM.CREATE.OBJ_${BUCKET} _INBOX.made ${Buffer.byteLength(body)}\r\n${body}\r\n`,
    );
    const answer = await reply(socket);
    if (answer.includes('"error"')) throw new Error(`nats-server makes no bucket: ${answer}`);
  } finally {
    socket.destroy();
  }
}

/** The first message, or the server's complaint. */
async function reply(socket: Socket): Promise<string> {
  let isNext = false;
  for await (const line of createInterface({ input: socket })) {
    if (isNext) return line;
    if (line.startsWith('-ERR')) throw new Error(`nats-server: ${line}`);
    isNext = line.startsWith('MSG ');
  }
  throw new Error('nats-server closed the connection');
}
