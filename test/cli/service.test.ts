import assert from 'node:assert/strict';
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { get } from '../support/http.ts';
import { waitFor } from '../support/wait.ts';
import { baseOf, scene } from './daemon-scene.ts';

describe('signals and service managers', () => {
  it('SIGUSR1 and SIGUSR2 change nothing, SIGHUP ends the program at once', async (t) => {
    const { replicate } = scene(t);
    const daemon = replicate('addr: 127.0.0.1:0\n');
    const base = await baseOf(daemon);
    for (const signal of ['SIGUSR1', 'SIGUSR2', 'SIGPIPE', 'SIGWINCH'] as const) {
      daemon.signal(signal);
      assert.equal((await get(`${base}/healthz`)).status, 200);
    }
    assert.doesNotMatch(daemon.log, /ebugger/);
    daemon.signal('SIGHUP');
    await daemon.ended();
    assert.equal(daemon.endedBy, 'SIGHUP');
  });

  it('systemd hears that the service is ready, alive and stopping', async (t) => {
    const { application, folder, replicate } = scene(t);
    application();
    const heard = join(folder, 'heard');
    writeFileSync(join(folder, 'systemd-notify'), `#!/bin/sh\necho "$@" >> ${heard}\n`);
    chmodSync(join(folder, 'systemd-notify'), 0o755);
    const text = `dbs: [{path: ${folder}/app.db, replica: {path: ${folder}/replica}}]\n`;
    const daemon = replicate(text, {
      PATH: `${folder}:${process.env['PATH']}`,
      NOTIFY_SOCKET: join(folder, 'socket'),
      WATCHDOG_USEC: '400000',
    });
    const lines = (): string[] =>
      existsSync(heard) ? readFileSync(heard, 'utf8').split('\n') : [];
    await waitFor(() => lines().filter((line) => line.includes('WATCHDOG=1')).length >= 2, {
      what: 'signs of life',
    });
    assert.ok(lines().includes(`--pid=${daemon.pid} --ready --status=replicating 1 database`));
    await daemon.stop();
    await waitFor(() => lines().some((line) => line.includes('STOPPING=1')), { what: 'the end' });
  });

  it('nothing is sent to a manager that did not ask, or asked another process', async (t) => {
    const { folder, replicate } = scene(t);
    const heard = join(folder, 'heard');
    writeFileSync(join(folder, 'systemd-notify'), `#!/bin/sh\necho "$@" >> ${heard}\n`);
    chmodSync(join(folder, 'systemd-notify'), 0o755);
    const PATH = `${folder}:${process.env['PATH']}`;
    const unasked = replicate('', {
      PATH,
      WATCHDOG_USEC: '1000',
    });
    await unasked.line(/no databases/);
    await unasked.stop();
    assert.ok(!existsSync(heard));
    const other = { PATH, NOTIFY_SOCKET: '/x', WATCHDOG_USEC: '1000', WATCHDOG_PID: '1' };
    const daemon = replicate('', other);
    await waitFor(() => existsSync(heard), { what: 'ready' });
    await daemon.stop();
    await waitFor(() => readFileSync(heard, 'utf8').includes('STOPPING=1'), { what: 'the end' });
    assert.doesNotMatch(readFileSync(heard, 'utf8'), /WATCHDOG/);
  });
});
