import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { FaultProxy } from './fault-proxy.ts';
import { needServer } from './installed.ts';
import type { Scope } from './scope.ts';
import { ServerProcess } from './server-process.ts';

const BUCKET = 'testbucket';

export interface FakeGcsServer {
  readonly server: ServerProcess;
  /** In front of the server. Clients have to use its port: the server compares the `Host` header. */
  readonly proxy: FaultProxy;
  /** For `STORAGE_EMULATOR_HOST`: the proxy as `host:port`. */
  readonly emulatorHost: string;
  /** Exists. */
  readonly bucket: string;
}

/** fake-gcs-server with files behind it, so that a restart keeps the objects. It asks nobody who he is. */
export async function startFakeGcsServer(scope: Scope): Promise<FakeGcsServer | undefined> {
  const program = needServer(scope, 'fake-gcs-server');
  if (program === undefined) return undefined;
  const server = await ServerProcess.reserve(scope);
  const proxy = await FaultProxy.start(scope, server.port);
  const root = join(server.folder, 'objects');
  mkdirSync(join(root, BUCKET), { recursive: true });
  const listen = ['-scheme', 'http', '-host', '127.0.0.1', '-port', String(server.port)];
  const storage = ['-backend', 'filesystem', '-filesystem-root', root];
  const emulatorHost = `127.0.0.1:${proxy.port}`;
  await server.start({ program, args: [...listen, ...storage, '-public-host', emulatorHost] });
  return { server, proxy, emulatorHost, bucket: BUCKET };
}
