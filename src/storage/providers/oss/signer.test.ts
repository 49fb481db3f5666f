import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import library from 'ali-oss/lib/common/signUtils.js';
import fc from 'fast-check';
import { formatRfc3339 } from '../../../lib/time-text.ts';
import { encodeKey, encodeQuery, signedHeaders, type UnsignedRequest } from './signer.ts';

const SCOPE = { bucket: 'bucket-1', region: 'cn-beijing' };
const KEYS = { accessKeyId: 'id', accessKeySecret: 'a/secret+1', securityToken: '' };
const NOW = Date.UTC(2026, 0, 2, 3, 4, 5, 678);

function oracle(request: UnsignedRequest, headers: Readonly<Record<string, string>>): string {
  const { method, key, query } = request;
  const { authorization: _, ...signed } = headers;
  const queries = Object.fromEntries(
    Object.entries(query).map(([name, value]) => [name, value === '' ? null : value]),
  );
  const facts = [method, { headers: signed, queries }, SCOPE.bucket, key];
  return library.authorizationV4(KEYS.accessKeyId, KEYS.accessKeySecret, SCOPE.region, ...facts);
}

function sign(request: UnsignedRequest, securityToken = ''): Record<string, string> {
  return signedHeaders(request, { ...KEYS, securityToken }, SCOPE, NOW);
}

function assertAgrees(request: UnsignedRequest, token?: string): void {
  const headers = sign(request, token);
  assert.equal(headers['authorization'], oracle(request, headers), JSON.stringify(request));
}

describe('version 4 of the OSS signature', () => {
  it('is the one that ali-oss computes, whatever the names contain (BKD-04)', () => {
    const keys = [
      '',
      'p/0000/0000000000000001-0000000000000001.ltx',
      './0000/x',
      '/0000/x',
      'a b+c%20d%/é日本/!*\'()~_.-&=?#"<>',
      '//a//',
    ];
    for (const key of keys) {
      assertAgrees({ method: 'GET', key, query: {}, headers: {} });
      assertAgrees({
        method: 'PUT',
        key,
        query: { partNumber: '1', uploadId: 'A+B/C= ' },
        headers: {
          'content-type': 'application/octet-stream',
          'content-md5': '1B2M2Y8AsgTpgAmY7PhCfg==',
          'x-oss-meta-litestream-timestamp': '2026-01-02T03:04:05.67Z',
          'x-oss-forbid-overwrite': 'true',
          range: 'bytes=0-9',
        },
      });
    }
    const list = { 'list-type': '2', prefix: 'é/+ %', 'encoding-type': 'url', 'max-keys': '1000' };
    assertAgrees({ method: 'GET', key: '', query: list, headers: {} }, 'token');
    assertAgrees({ method: 'POST', key: '', query: { delete: '' }, headers: {} });
    assertAgrees({ method: 'POST', key: 'k', query: { uploads: '' }, headers: {} }, 'a/b+c==');
  });

  it('is the one that ali-oss computes for any text', () => {
    const text = fc.string({ unit: 'grapheme', maxLength: 20 });
    const header = fc.stringMatching(/^[!-~][ -~]{0,20}$/);
    fc.assert(
      fc.property(
        fc.constantFrom('GET', 'PUT', 'POST', 'DELETE', 'HEAD'),
        text,
        // The library sorts by the rules of a language; these names are in the same order either way.
        fc.dictionary(fc.stringMatching(/^[a-z]{1,9}$/), text, { maxKeys: 4 }),
        fc.dictionary(fc.stringMatching(/^x-oss-meta-[a-z]{1,9}$/), header, { maxKeys: 4 }),
        (method, key, query, headers) => {
          assertAgrees({ method, key, query, headers });
        },
      ),
      { numRuns: 200 },
    );
  });

  it('says when and for what it is made, and not with which secret', () => {
    const headers = sign({ method: 'GET', key: 'k', query: {}, headers: {} }, 'the-token');
    assert.equal(headers['x-oss-date'], '20260102T030405Z');
    assert.equal(headers['x-oss-security-token'], 'the-token');
    assert.match(
      headers['authorization'] ?? '',
      /^OSS4-HMAC-SHA256 Credential=id\/20260102\/cn-beijing\/oss\/aliyun_v4_request,Signature=[0-9a-f]{64}$/,
    );
    assert.ok(!JSON.stringify(headers).includes(KEYS.accessKeySecret));
    assert.equal(formatRfc3339(NOW), '2026-01-02T03:04:05.678Z');
  });

  it('covers what is sent: keys keep their slashes and dots, queries are sorted', () => {
    assert.equal(encodeKey("./a b//c%+!'()*é"), './a%20b//c%25%2B%21%27%28%29%2A%C3%A9');
    assert.equal(encodeQuery({ b: '2', a: '', 'a-b': 'x y' }), 'a&a-b=x%20y&b=2');
  });
});
