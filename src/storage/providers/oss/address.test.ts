import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ossAddress } from './address.ts';
import { ossKeys } from './keys.ts';

function where(endpoint: string, region = '', bucket = 'b'): string {
  const { target, region: signed, path } = ossAddress({ bucket, endpoint, region });
  return `${target.protocol}//${target.host}:${target.port}${path('k/./x y')} ${signed}`;
}

describe('the address of an OSS bucket', () => {
  it('follows the region without an endpoint', () => {
    assert.equal(where(''), 'https://b.oss-cn-hangzhou.aliyuncs.com:443/k/./x%20y cn-hangzhou');
    assert.equal(
      where('', 'ap-southeast-1'),
      'https://b.oss-ap-southeast-1.aliyuncs.com:443/k/./x%20y ap-southeast-1',
    );
  });

  it('takes every form of an endpoint, and the region out of its name', () => {
    const forms: readonly (readonly [endpoint: string, region: string, want: string])[] = [
      ['oss-cn-beijing.aliyuncs.com', '', 'https://b.oss-cn-beijing.aliyuncs.com:443 cn-beijing'],
      [
        'https://oss-cn-beijing-internal.aliyuncs.com/',
        '',
        'https://b.oss-cn-beijing-internal.aliyuncs.com:443 cn-beijing',
      ],
      [
        'http://oss-cn-beijing.aliyuncs.com',
        'cn-x',
        'http://b.oss-cn-beijing.aliyuncs.com:80 cn-x',
      ],
      ['b.oss-cn-beijing.aliyuncs.com', '', 'https://b.oss-cn-beijing.aliyuncs.com:443 cn-beijing'],
      ['oss-accelerate.aliyuncs.com', '', 'https://b.oss-accelerate.aliyuncs.com:443 cn-hangzhou'],
      ['HTTPS://oss.example.com:8443', 'r', 'https://b.oss.example.com:8443 r'],
      ['http://127.0.0.1:9000', '', 'http://127.0.0.1:9000/b cn-hangzhou'],
      ['http://[::1]:9000', '', 'http://::1:9000/b cn-hangzhou'],
      ['http://localhost:9000', '', 'http://localhost:9000/b cn-hangzhou'],
    ];
    for (const [endpoint, region, want] of forms) {
      const [url = '', signed = ''] = want.split(' ');
      assert.equal(where(endpoint, region), `${url}/k/./x%20y ${signed}`, endpoint);
    }
  });

  it('keeps keys that begin with a dot or a slash', () => {
    const { path } = ossAddress({ bucket: 'b', endpoint: 'http://127.0.0.1', region: '' });
    assert.equal(path('./0000/x'), '/b/./0000/x');
    assert.equal(path('/0000/x'), '/b//0000/x');
    assert.equal(path(''), '/b/');
  });

  it('is refused where it is none, without showing a password', () => {
    for (const endpoint of ['ftp://h', 'https://', 'h/path', 'https://h?x=1', 'http://a b']) {
      assert.throws(() => where(endpoint), { code: 'ERR_CONFIG' }, endpoint);
    }
    assert.throws(
      () => where('ftp://user:hidden@h'),
      (error: Error) => {
        assert.ok(!error.message.includes('hidden'), error.message);
        return true;
      },
    );
  });
});

describe('the keys of an OSS replica', () => {
  const none = { accessKeyId: '', secretAccessKey: '' };
  const environment = {
    OSS_ACCESS_KEY_ID: 'STS.env',
    OSS_ACCESS_KEY_SECRET: 'env-secret',
    OSS_SESSION_TOKEN: 'env-token',
  };
  const fromEnvironment = {
    accessKeyId: 'STS.env',
    accessKeySecret: 'env-secret',
    securityToken: 'env-token',
  };

  it('are the configured pair, without a token of the environment', () => {
    const pair = { accessKeyId: 'id', secretAccessKey: 'secret' };
    const want = { accessKeyId: 'id', accessKeySecret: 'secret', securityToken: '' };
    assert.deepEqual(ossKeys(pair, environment), want);
    assert.deepEqual(ossKeys(pair, {}), want);
  });

  it('are those of the environment if the pair is not complete', () => {
    assert.deepEqual(ossKeys(none, environment), fromEnvironment);
    assert.deepEqual(ossKeys({ ...none, accessKeyId: 'id' }, environment), fromEnvironment);
    const { OSS_SESSION_TOKEN: _, ...lasting } = environment;
    assert.equal(ossKeys(none, lasting).securityToken, '');
  });

  it('have their token also where the configuration repeats the environment (BKD-12)', () => {
    const repeated = { accessKeyId: 'STS.env', secretAccessKey: 'env-secret' };
    assert.deepEqual(ossKeys(repeated, environment), fromEnvironment);
    const temporary = { accessKeyId: 'STS.other', secretAccessKey: 's' };
    assert.equal(ossKeys(temporary, environment).securityToken, 'env-token');
  });

  it('are missed in words that say where to put them', () => {
    for (const environmentOfOne of [{}, { OSS_ACCESS_KEY_ID: 'id' }]) {
      assert.throws(() => ossKeys(none, environmentOfOne), {
        code: 'ERR_STORAGE_DENIED',
        message: 'oss: no credentials',
        hint: 'set access-key-id and secret-access-key, or OSS_ACCESS_KEY_ID and OSS_ACCESS_KEY_SECRET',
      });
    }
  });
});
