import type { TestContext } from 'node:test';
import { type Clock, systemClock } from '../../../src/lib/clock.ts';
import { nodeFileSystem } from '../../../src/lib/file-system.ts';
import type { ReplicaClient, S3Location } from '../../../src/storage/index.ts';
import { HttpClient, hostHeader } from '../../../src/storage/http/index.ts';
import { createS3Client, type S3ClientOptions } from '../../../src/storage/providers/s3/index.ts';
import type { LogAttributes } from '../../../src/telemetry/index.ts';
import { FakeS3 } from './fake-s3.ts';
import type { FakeRules } from './rules.ts';
import { s3Location } from './s3-location.ts';
import { checkedLogger, guarded } from '../guarded.ts';

/** A store in memory, and clients whose waits between attempts are short. */
export interface S3Bench {
  readonly fake: FakeS3;
  /** `level message` and attributes of everything that was logged. */
  readonly lines: (readonly [string, LogAttributes | undefined])[];
  /** Milliseconds of the waits that clients asked for. */
  readonly waits: number[];
  /** A client for `p`. Whatever host it asks, the store answers. */
  readonly open: (
    location?: Partial<S3Location>,
    options?: Partial<S3ClientOptions>,
  ) => ReplicaClient;
}

const WAIT_MS_MAX = 5;
/** Timers above this are bounds of something, no waits between attempts. */
const BOUND_MS_MIN = 10_001;

/** Starts a store with these rules. Without an endpoint in the location the client believes to talk to AWS. */
export async function s3Bench(t: TestContext, rules: Partial<FakeRules> = {}): Promise<S3Bench> {
  const fake = await FakeS3.start(t, rules);
  const waits: number[] = [];
  const clock: Clock = {
    now: () => systemClock.now(),
    monotonic: () => systemClock.monotonic(),
    timer: (ms, callback) => {
      if (ms >= BOUND_MS_MIN) return systemClock.timer(ms, callback);
      waits.push(ms);
      return systemClock.timer(Math.min(ms, WAIT_MS_MAX), callback);
    },
  };
  const lines: S3Bench['lines'] = [];
  const logger = checkedLogger((level, message, attributes) => {
    lines.push([`${level} ${message}`, attributes]);
  });
  const http = new HttpClient({ clock: systemClock });
  t.after(() => {
    http.close();
  });
  const { accessKeyId, secretAccessKey } = fake.rules.secrets;
  const open: S3Bench['open'] = (location = {}, options = {}) => {
    const client = createS3Client(s3Location({ accessKeyId, secretAccessKey, ...location }), {
      clock,
      fileSystem: nodeFileSystem,
      logger,
      random: () => 0.5,
      http: {
        send: (request) =>
          http.send({
            ...request,
            headers: { host: hostHeader(request.target), ...request.headers },
            target: { protocol: 'http:', host: '127.0.0.1', port: fake.port },
          }),
      },
      ...options,
    });
    t.after(() => client.close());
    return guarded(client);
  };
  return { fake, lines, waits, open };
}
