import { type Clock, sleep } from '../lib/clock.ts';
import type { ReplicaClient } from '../storage/index.ts';

/** A pause shorter than this is not worth its timer. */
const PAUSE_MS_MIN = 5;

/**
 * The same replica, read at a limited rate by everything that uses this client together. Files count as remote, so that nothing
 * goes past the limit. Other calls are not counted.
 *
 * @param bytesPerSecond - above 0
 */
export function throttled(
  client: ReplicaClient,
  bytesPerSecond: number,
  clock: Clock,
): ReplicaClient {
  /** When everything read so far is paid for. */
  let paidAt = clock.monotonic();
  async function* limit(
    source: AsyncIterable<Uint8Array>,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const chunk of source) {
      paidAt = Math.max(paidAt, clock.monotonic()) + (chunk.length / bytesPerSecond) * 1000;
      const pause = paidAt - clock.monotonic();
      if (pause >= PAUSE_MS_MIN) await sleep(clock, pause, signal);
      yield chunk;
    }
  }
  return {
    type: client.type,
    location: client.location,
    init: (options) => client.init(options),
    list: (level, options) => client.list(level, options),
    read: (key, options) => limit(client.read(key, options), options?.signal),
    write: (key, source, options) => client.write(key, source, options),
    delete: (keys, options) => client.delete(keys, options),
    deleteAll: (options) => client.deleteAll(options),
    ...(client.listObjects === undefined ? {} : { listObjects: client.listObjects.bind(client) }),
    ...(client.readObject === undefined ? {} : { readObject: client.readObject.bind(client) }),
    close: () => client.close(),
  };
}
