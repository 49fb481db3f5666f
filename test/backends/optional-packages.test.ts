import assert from 'node:assert/strict';
import { registerHooks } from 'node:module';
import { test } from 'node:test';
import { systemClock } from '../../src/lib/clock.ts';
import { nodeFileSystem } from '../../src/lib/file-system.ts';
import type { ReplicaLocation } from '../../src/storage/index.ts';
import { natsLocation } from './nats-location.ts';
import { openReplica } from '../support/guarded.ts';
import { makeSecretKey } from '../support/secrets.ts';

const abs: ReplicaLocation = {
  type: 'abs',
  bucket: 'b',
  path: '',
  endpoint: '',
  accountName: 'a',
  accountKey: makeSecretKey('account key', 64),
  sasToken: '',
};

const CASES: readonly (readonly [missing: RegExp, location: ReplicaLocation, command: string])[] = [
  [/^@azure\/identity/, { ...abs, accountKey: '' }, '@azure/identity'],
  [/^@azure\//, abs, '@azure/storage-blob'],
  [
    /^@nats-io\//,
    natsLocation('nats://127.0.0.1:1', 'b'),
    '@nats-io/transport-node @nats-io/jetstream',
  ],
];
for (const [missing, location, packages] of CASES) {
  test(`without ${packages} the error is the command that installs it`, async (t) => {
    const hooks = registerHooks({
      resolve(specifier, context, next) {
        if (!missing.test(specifier)) return next(specifier, context);
        const error = new Error(`Cannot find package '${specifier}'`);
        throw Object.assign(error, { code: 'ERR_MODULE_NOT_FOUND' });
      },
    });
    t.after(() => {
      hooks.deregister();
    });
    const ports = { clock: systemClock, fileSystem: nodeFileSystem };
    await assert.rejects(openReplica(location, ports), (error: Error) => {
      assert.ok(error.message.endsWith(`; run: npm install ${packages}`), error.message);
      return true;
    });
  });
}
