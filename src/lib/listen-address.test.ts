import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { listenError, listenPort, parseListenAddress, urlAuthority } from './listen-address.ts';

describe('a listen address', () => {
  for (const [address, host, port] of [
    ['127.0.0.1:9090', '127.0.0.1', '9090'],
    ['localhost:0', 'localhost', '0'],
    [':9090', '', '9090'],
    ['[::1]:9090', '::1', '9090'],
    ['[::]:1', '::', '1'],
    ['host:http', 'host', 'http'],
  ] as const) {
    it(`is split: ${address}`, () => {
      assert.deepEqual(parseListenAddress(address), { host, port });
    });
  }

  for (const address of ['localhost', '9090', 'localhost:', ':', '::1', '::1:9090', '[::1]', '']) {
    it(`needs a port: ${JSON.stringify(address)}`, () => {
      assert.equal(parseListenAddress(address), undefined);
    });
  }

  it('is shown with the port in use', () => {
    assert.equal(urlAuthority({ host: '', port: '0' }, 41_000), 'localhost:41000');
    assert.equal(urlAuthority({ host: '::1', port: '1' }, 1), '[::1]:1');
    assert.equal(urlAuthority({ host: '0.0.0.0', port: '1' }, 1), '0.0.0.0:1');
  });

  it('is found wrong when it is used', () => {
    assert.equal(listenPort({ host: '', port: '9090' }), 9090);
    assert.throws(() => listenPort({ host: '', port: '99999' }), {
      message: 'listen tcp: address 99999: invalid port',
    });
    assert.throws(() => listenPort({ host: '', port: 'x' }), {
      message: 'listen tcp: lookup tcp/x: unknown port',
    });
  });

  it("names the system's reason for a refusal", () => {
    const refused = (code: string): Error => Object.assign(new Error(code), { code });
    assert.equal(
      listenError(':9090', refused('EADDRINUSE')).message,
      'listen tcp :9090: bind: address already in use',
    );
    assert.equal(
      listenError('10.9.9.9:1', refused('EADDRNOTAVAIL')).message,
      'listen tcp 10.9.9.9:1: bind: cannot assign requested address',
    );
    assert.equal(
      listenError(':80', refused('EACCES')).message,
      'listen tcp :80: bind: permission denied',
    );
    assert.equal(
      listenError('no.such:80', refused('ENOTFOUND')).message,
      'listen tcp: lookup no.such: no such host',
    );
  });
});
