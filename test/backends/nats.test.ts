import { jetstreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { systemClock } from '../../src/lib/clock.ts';
import { nodeFileSystem } from '../../src/lib/file-system.ts';
import { createNatsClient } from '../../src/storage/providers/nats/index.ts';
import { replicaClientSuite } from '../../src/testing/index.ts';
import {
  fileScope,
  type NatsServer,
  startNatsServer,
  whyMissing,
} from '../support/servers/index.ts';
import { natsLocation } from './nats-location.ts';
import { checkedLogger, guarded } from '../support/guarded.ts';

const scope = fileScope();
let shared: Promise<NatsServer | undefined> | undefined;
let buckets = 0;

replicaClientSuite(
  'nats-server',
  async () => {
    const nats = await (shared ??= startNatsServer(scope));
    if (nats === undefined) throw new Error('nats-server: not installed');
    const connection = await connect({ servers: nats.url });
    const manager = await jetstreamManager(connection);
    const { Objm } = await import('@nats-io/obj');
    const bucket = `suite-${++buckets}`;
    const store = await new Objm(connection).create(bucket);
    const stream = `OBJ_${bucket}`;
    return {
      open: async () => {
        const ports = { clock: systemClock, fileSystem: nodeFileSystem, logger: checkedLogger() };
        return guarded(await createNatsClient(natsLocation(nats.url, bucket), ports));
      },
      async putForeign(_path, level, name, bytes) {
        await store.putBlob({ name: `ltx/${level}/${name}` }, bytes);
      },
      /** Objects by their names, and chunks that belong to none. */
      async keys() {
        const objects = await store.list();
        const { state } = await manager.streams.info(stream, { subjects_filter: '>' });
        const owned = new Set(objects.map(({ nuid }) => `$O.${bucket}.C.${nuid}`));
        const chunks = Object.keys(state.subjects ?? {}).filter((subject) =>
          subject.startsWith(`$O.${bucket}.C.`),
        );
        return [
          ...objects.map(({ name }) => name),
          ...chunks.filter((subject) => !owned.has(subject)),
        ];
      },
      async dispose() {
        await manager.streams.delete(stream);
        await connection.close();
      },
    };
  },
  { unavailable: whyMissing('nats-server'), deletesWholeRemote: true },
);
