/** The stores that speak HTTP, each with a proxy in front that can break what passes. */
import type { TestContext } from 'node:test';
import type { ReplicaLocation } from '../../src/storage/index.ts';
import { s3Location } from '../support/fake-s3/index.ts';
import {
  FaultProxy,
  startAzurite,
  startFakeGcsServer,
  startVersitygw,
  startWsgidav,
} from '../support/servers/index.ts';
import { OssServer } from '../support/servers/oss-server.ts';

/** A running store, and a replica in it. */
export interface Store {
  /** In front of a server that speaks HTTP. */
  readonly proxy: FaultProxy;
  readonly location: ReplicaLocation;
  readonly environment?: Readonly<Record<string, string>>;
}

/** Undefined where the server is not installed; the test is skipped then. */
export type StartStore = (t: TestContext) => Promise<Store | undefined>;

export async function startS3(t: TestContext): Promise<Store | undefined> {
  const running = await startVersitygw(t);
  if (running === undefined) return undefined;
  const proxy = await FaultProxy.start(t, running.port);
  return { proxy, location: s3Location({ ...running, endpoint: proxy.url }) };
}

export async function startGs(t: TestContext): Promise<Store | undefined> {
  const running = await startFakeGcsServer(t);
  if (running === undefined) return undefined;
  const { proxy, emulatorHost, bucket } = running;
  const environment = { STORAGE_EMULATOR_HOST: emulatorHost };
  return { proxy, location: { type: 'gs', bucket, path: 'p' }, environment };
}

export async function startAbs(t: TestContext): Promise<Store | undefined> {
  const running = await startAzurite(t);
  if (running === undefined) return undefined;
  const { port, accountName, accountKey, container } = running;
  const proxy = await FaultProxy.start(t, port);
  const endpoint = `${proxy.url}/${accountName}/`;
  const login = { accountName, accountKey, sasToken: '' };
  return { proxy, location: { type: 'abs', bucket: container, path: 'p', endpoint, ...login } };
}

export async function startOss(t: TestContext): Promise<Store | undefined> {
  const server = await OssServer.start(t);
  return { proxy: server.proxy, location: ossLocation(server) };
}

/** Below `p`, with the settings that all have. */
export function ossLocation(
  place: Pick<OssServer, 'bucket' | 'region' | 'endpoint' | 'accessKeyId' | 'accessKeySecret'>,
): ReplicaLocation {
  const { bucket, region, endpoint, accessKeyId, accessKeySecret } = place;
  const sizes = { partSizeBytes: undefined, concurrency: undefined };
  const keys = { accessKeyId, secretAccessKey: accessKeySecret };
  return { type: 'oss', bucket, path: 'p', region, endpoint, ...keys, ...sizes };
}

export async function startWebdav(t: TestContext): Promise<Store | undefined> {
  const dav = await startWsgidav(t);
  if (dav === undefined) return undefined;
  const { port, username, password } = dav;
  const proxy = await FaultProxy.start(t, port);
  return { proxy, location: { type: 'webdav', url: proxy.url, username, password, path: 'p' } };
}
