import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { proxyFor } from './proxy.ts';
import type { HttpTarget } from './types.ts';

const plain = (host: string, port = 80): HttpTarget => ({ protocol: 'http:', host, port });
const secure = (host: string, port = 443): HttpTarget => ({ protocol: 'https:', host, port });

describe('proxyFor', () => {
  it('takes the variable of the scheme, upper case first', () => {
    const environment = { HTTP_PROXY: 'http://a:1', http_proxy: 'http://b:2', https_proxy: 'c:3' };
    assert.equal(proxyFor(plain('x.test'), environment)?.target.host, 'a');
    assert.deepEqual(proxyFor(secure('x.test'), environment)?.target, plain('c', 3));
    assert.equal(proxyFor(secure('x.test'), { HTTP_PROXY: 'http://a:1' }), undefined);
    assert.equal(proxyFor(plain('x.test'), { HTTP_PROXY: '' }), undefined);
  });

  it('knows usual ports, addresses and users', () => {
    const find = (text: string): ReturnType<typeof proxyFor> =>
      proxyFor(plain('x.test'), { HTTP_PROXY: text });
    assert.deepEqual(find('http://p')?.target, plain('p'));
    assert.deepEqual(find('https://p')?.target, secure('p'));
    assert.deepEqual(find('http://[::1]:8080')?.target, plain('::1', 8080));
    assert.equal(find('http://p')?.authorization, undefined);
    const { authorization = '' } = find('http://us%40er:p%3Ass@p:1') ?? {};
    assert.equal(Buffer.from(authorization.slice(6), 'base64').toString(), 'us@er:p:ss');
  });

  it('refuses what it cannot use, without showing its password', () => {
    for (const text of ['socks5://u:secret@p:1', 'http://', 'http://u:secret@:x']) {
      assert.throws(
        () => proxyFor(plain('x.test'), { HTTP_PROXY: text }),
        (error: Error) => /HTTP_PROXY/.test(error.message) && !error.message.includes('secret'),
        text,
      );
    }
  });

  it('never sends loopback through a proxy', () => {
    const environment = { HTTP_PROXY: 'http://p', HTTPS_PROXY: 'http://p' };
    for (const host of ['localhost', 'LOCALHOST', '127.0.0.1', '127.8.9.1', '::1']) {
      assert.equal(proxyFor(plain(host), environment), undefined, host);
      assert.equal(proxyFor(secure(host), environment), undefined, host);
    }
    assert.notEqual(proxyFor(plain('localhost.test'), environment), undefined);
  });

  it('respects NO_PROXY', () => {
    const cases: readonly (readonly [string, HttpTarget, boolean])[] = [
      ['*', plain('x.test'), true],
      ['x.test', plain('x.test'), true],
      ['x.test', plain('X.TEST'), true],
      ['x.test', plain('a.x.test'), true],
      ['x.test', plain('ax.test'), false],
      ['.x.test', plain('a.x.test'), true],
      ['.x.test', plain('x.test'), false],
      ['*.x.test', plain('a.x.test'), true],
      ['x.test:8080', plain('x.test', 8080), true],
      ['x.test:8080', plain('x.test', 80), false],
      [' a.test , x.test ', plain('x.test'), true],
      ['10.0.0.1', plain('10.0.0.1'), true],
      ['10.0.0.1:80', plain('10.0.0.1'), true],
      ['10.0.0.1:81', plain('10.0.0.1'), false],
      ['10.0.0.0/8', plain('10.200.0.1'), true],
      ['10.0.0.0/8', plain('11.0.0.1'), false],
      ['10.0.0.0/8', plain('x.test'), false],
      ['10.0.0.0/99', plain('10.0.0.1'), false],
      ['fd00::/8', plain('fd00::1'), true],
      ['[fd00::1]', plain('fd00::1'), true],
      ['[fd00::1]:80', plain('fd00::1'), true],
      ['', plain('x.test'), false],
      [',', plain('x.test'), false],
    ];
    for (const [list, target, bypassed] of cases) {
      const found = proxyFor(target, { HTTP_PROXY: 'http://p', NO_PROXY: list });
      assert.equal(found === undefined, bypassed, `${list} for ${target.host}:${target.port}`);
    }
    assert.equal(
      proxyFor(plain('x.test'), { HTTP_PROXY: 'http://p', no_proxy: 'x.test' }),
      undefined,
    );
  });
});
