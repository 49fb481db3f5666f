import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import {
  isListening,
  startApache,
  startAsyncssh,
  startAzurite,
  startFakeGcsServer,
  startMoto,
  startNatsServer,
  startSshd,
  startVersitygw,
  startWsgidav,
  type ServerProcess,
} from '../support/servers/index.ts';

/** Each server that the tests of backends rely on, without a backend: it answers, dies, and comes back on its port. */
const STARTERS: Readonly<
  Record<string, (t: TestContext) => Promise<{ readonly server: ServerProcess } | undefined>>
> = {
  apache: (t) => startApache(t, { auth: 'Digest' }),
  asyncssh: startAsyncssh,
  azurite: startAzurite,
  'fake-gcs-server': startFakeGcsServer,
  moto: startMoto,
  'nats-server': (t) => startNatsServer(t),
  sshd: (t) => startSshd(t, { hostKeys: ['ed25519', 'ecdsa'] }),
  versitygw: startVersitygw,
  wsgidav: startWsgidav,
};

for (const [name, start] of Object.entries(STARTERS)) {
  test(`${name} starts, is gone when killed, and comes back on the same port`, async (t) => {
    const started = await start(t);
    if (started === undefined) return;
    const { server } = started;
    assert.ok(await isListening(server.port));
    await server.kill();
    assert.equal(await isListening(server.port), false);
    await server.start();
    assert.ok(await isListening(server.port));
  });
}

test('a WebDAV folder serves files to those who log in, also after a kill', async (t) => {
  for (const start of [startApache, startWsgidav]) {
    const dav = await start(t);
    if (dav === undefined) return;
    const login = Buffer.from(`${dav.username}:${dav.password}`).toString('base64');
    const headers = { authorization: `Basic ${login}` };
    const put = await fetch(`${dav.url}/file`, { method: 'PUT', body: 'content', headers });
    assert.equal(put.status, 201);
    assert.equal((await fetch(`${dav.url}/file`)).status, 401);
    await dav.server.restart();
    const answer = await fetch(`${dav.url}/file`, { headers });
    assert.equal(await answer.text(), 'content');
  }
});
