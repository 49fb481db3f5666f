import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { LitestreamError } from '../lib/errors.ts';
import { redactUrl } from '../lib/redact-url.ts';
import { isUrl, type ParsedReplicaUrl, parseReplicaUrl, requireComplete } from './url.ts';

function messageOf(url: string): string {
  try {
    requireComplete(parseReplicaUrl(url));
  } catch (error) {
    assert.ok(error instanceof LitestreamError);
    assert.equal(error.code, 'ERR_STORAGE_URL');
    return error.message;
  }
  return 'no error';
}

function parts(url: string, ...names: readonly (keyof ParsedReplicaUrl)[]): unknown[] {
  const parsed = parseReplicaUrl(url);
  return names.map((name) => parsed[name]);
}

describe('replica URLs', () => {
  it('splits host and path', () => {
    const cases: Readonly<Record<string, readonly [string, string, string, string]>> = {
      's3://b': ['s3', 's3', 'b', '.'],
      's3://b/': ['s3', 's3', 'b', ''],
      's3://b/p': ['s3', 's3', 'b', 'p'],
      's3://b/p/': ['s3', 's3', 'b', 'p'],
      's3://b//p//q/': ['s3', 's3', 'b', 'p/q'],
      's3://b/../x': ['s3', 's3', 'b', 'x'],
      's3://b/a%20b/c': ['s3', 's3', 'b', 'a b/c'],
      's3://b/a b/ü': ['s3', 's3', 'b', 'a b/ü'],
      'S3://Bkt/P': ['s3', 's3', 'Bkt', 'P'],
      's3://b/p#fragment': ['s3', 's3', 'b', 'p'],
      's3://b/p#f?region=x': ['s3', 's3', 'b', 'p'],
      's3://bkt.s3.eu-west-1.amazonaws.com/p': ['s3', 's3', 'bkt.s3.eu-west-1.amazonaws.com', 'p'],
      's3://bkt.localhost:9000/p': ['s3', 's3', 'bkt.localhost:9000', 'p'],
      'gs://b/p': ['gs', 'gs', 'b', 'p'],
      'abs://acct@container/p': ['abs', 'abs', 'container', 'p'],
      'oss://b.oss-cn-hangzhou.aliyuncs.com/p': [
        'oss',
        'oss',
        'b.oss-cn-hangzhou.aliyuncs.com',
        'p',
      ],
      'nats://h:4222/bucket': ['nats', 'nats', 'h:4222', 'bucket'],
      'nats://[::1]:4222/bucket': ['nats', 'nats', '[::1]:4222', 'bucket'],
      'webdav://h/dav/x/': ['webdav', 'webdav', 'h', 'dav/x'],
      'webdavs://u:p@h/dav/x/': ['webdav', 'webdavs', 'h', 'dav/x'],
      'sftp://u:p%40ss@h:22//abs/p': ['sftp', 'sftp', 'h:22', 'abs/p'],
    };
    for (const [url, expected] of Object.entries(cases)) {
      assert.deepEqual(parts(url, 'type', 'scheme', 'host', 'path'), expected, url);
    }
  });

  it('decodes user and password', () => {
    assert.deepEqual(parts('sftp://u:p%40ss@h:22/p', 'user', 'password'), ['u', 'p@ss']);
    assert.deepEqual(parts('sftp://u@h/p', 'user', 'password'), ['u', undefined]);
    assert.deepEqual(parts('sftp://u:@h/p', 'user', 'password'), ['u', '']);
    assert.deepEqual(parts('sftp://a@b:c@h/p', 'host', 'user', 'password'), ['h', 'a@b', 'c']);
    assert.deepEqual(parts('sftp://h/p', 'user', 'password'), [undefined, undefined]);
  });

  it('keeps the path as written beside the cleaned one', () => {
    assert.deepEqual(parts('sftp://u@h//abs//p/', 'rawPath', 'path'), ['//abs//p/', 'abs/p']);
    assert.deepEqual(parts('webdav://h/a%20b', 'rawPath', 'path'), ['/a b', 'a b']);
    assert.deepEqual(parts('webdav://h', 'rawPath', 'path'), ['', '.']);
  });

  it('reads the query', () => {
    const { query, path } = parseReplicaUrl(
      's3://b?endpoint=http://x:1/y&region=auto&region=b&a+b=c+d%2B&bad;pair=1&empty=&flag&x=%zz',
    );
    assert.equal(path, '.');
    assert.deepEqual(
      [...query],
      [
        ['endpoint', 'http://x:1/y'],
        ['region', 'auto'],
        ['a b', 'c d+'],
        ['empty', ''],
        ['flag', ''],
      ],
    );
  });

  it('takes an access point for the host', () => {
    const arn = 'arn:aws:s3:us-east-1:123456789012:accesspoint/my-ap';
    assert.deepEqual(parts(`s3://${arn}`, 'host', 'path'), [arn, '']);
    assert.deepEqual(parts(`s3://${arn}/`, 'host', 'path'), [arn, '']);
    assert.deepEqual(parts(`s3://${arn}/a//b/?region=x`, 'host', 'path'), [arn, 'a/b']);
    assert.equal(parseReplicaUrl(`s3://${arn}/a?region=x`).query.get('region'), 'x');
    assert.deepEqual(parts(`S3://ARN${arn.slice(3)}/p`, 'host', 'path'), [
      `ARN${arn.slice(3)}`,
      'p',
    ]);
    assert.equal(
      messageOf('s3://arn:aws:s3:r:1:bucket/x'),
      'invalid s3 access point arn: arn:aws:s3:r:1:bucket/x',
    );
    assert.equal(
      messageOf('s3://arn:aws:s3:r:1:accesspoint/'),
      'invalid s3 access point arn: arn:aws:s3:r:1:accesspoint/',
    );
  });

  it('decodes file URLs and keeps the spelling of the reference beside', () => {
    const cases: Readonly<Record<string, readonly [string, string]>> = {
      'file:///a/b?x=1': ['/a/b', '/a/b'],
      'file:///a%20b/c': ['/a b/c', '/a%20b/c'],
      'file:///a b': ['/a b', '/a%20b'],
      'file:///ä/x': ['/ä/x', '/%C3%A4/x'],
      'file:///%c3%a4': ['/ä', '/%c3%a4'],
      'file:///日 本': ['/日 本', '/%E6%97%A5%20%E6%9C%AC'],
      'file:///a/b#f': ['/a/b#f', '/a/b#f'],
      'file:///a%23b': ['/a#b', '/a%23b'],
      'file:///100%25': ['/100%', '/100%25'],
      'file:///a+b': ['/a+b', '/a+b'],
      'file:///(x)': ['/(x)', '/(x)'],
      'file://host/p': ['/host/p', '/host/p'],
      'file://rel/p': ['/rel/p', '/rel/p'],
      'file://./rel/p': ['/rel/p', '/rel/p'],
      'file:rel/path': ['rel/path', 'rel/path'],
      'FILE:///a//b/../c/': ['/a/c', '/a/c'],
      'file:///': ['/', '/'],
      'file://': ['', ''],
      'file:': ['', ''],
    };
    for (const [url, expected] of Object.entries(cases)) {
      assert.deepEqual(parts(url, 'path', 'encodedPath'), expected, url);
      assert.deepEqual(parts(url, 'type', 'host', 'user'), ['file', '', undefined]);
    }
  });

  it("refuses bad URLs with the reference's texts", () => {
    const cases = {
      '/r': 'replica url scheme required: /r',
      '': 'replica url scheme required: ',
      'bucket/path': 'replica url scheme required: bucket/path',
      '://x': 'parse "://x": missing protocol scheme',
      'bogus://x': 'unsupported replica URL scheme: "bogus"',
      'GCS://b/p': 'unsupported replica URL scheme: "gcs"',
      'constructor://x': 'unsupported replica URL scheme: "constructor"',
      's3://b/%zz': 'parse "s3://b/%zz": invalid URL escape "%zz"',
      's3://b/%4': 'parse "s3://b/%4": invalid URL escape "%4"',
      'file:///a%': 'parse "file:///a%": invalid URL escape "%"',
      's3://b:abc/p': 'parse "s3://b:abc/p": invalid port ":abc" after host',
      's3://b/\n': 'parse "s3://b/\\n": net/url: invalid control character in URL',
      's3://a b/p': 'parse "s3://a b/p": invalid character " " in host name',
      's3:///p': 'bucket required for s3 replica URL',
      's3:b/p': 'bucket required for s3 replica URL',
      'gs:///p': 'bucket required for gs replica URL',
      'abs://acct@/p': 'bucket required for abs replica URL',
      'oss:///p': 'bucket required for oss replica URL',
      'sftp:///p': 'host required for sftp replica URL',
      'sftp://h/p': 'user required for sftp replica URL',
      'nats://h': 'bucket required for nats replica URL',
      'nats://h/': 'bucket required for nats replica URL',
      'webdav:///p': 'host required for webdav replica URL',
      'file://': 'file replica path required',
    };
    for (const [url, message] of Object.entries(cases)) assert.equal(messageOf(url), message);
    for (const url of [
      's3://b',
      'sftp://u@h/p',
      'nats://h/b',
      'webdavs://h',
      'file:x',
      'abs://c',
    ]) {
      assert.equal(messageOf(url), 'no error');
    }
  });

  it('prints neither user names nor passwords', () => {
    const urls = ['bad', 's3', 'sftp', 'webdav'].flatMap((scheme) => [
      `${scheme}://user:secret@host:x/p`,
      `${scheme}://user:secret@host/%zz`,
      `${scheme}://user:sec%zzret@host/p`,
      `${scheme}://user:secret@ho st/p`,
    ]);
    for (const url of [...urls, '//user:secret@host/p']) {
      const message = messageOf(url);
      assert.notEqual(message, 'no error');
      assert.ok(!/user:|secret|ret@/.test(message), message);
    }
    assert.equal(redactUrl('sftp://u:p@h/a@b'), 'sftp://h/a@b');
    assert.equal(redactUrl('s3://b/a@b?x=c@d'), 's3://b/a@b?x=c@d');
    assert.equal(
      redactUrl('s3://b/a?region=r&sse-customer-key=k%2B&sseCustomerKeyMD5=m&sig=s&x=y#z'),
      's3://b/a?region=r&sse-customer-key=***&sseCustomerKeyMD5=***&sig=***&x=y#z',
    );
  });

  it('tells URLs from paths', () => {
    for (const url of ['s3://b', 'file:///x', 'a_1://']) assert.ok(isUrl(url), url);
    for (const path of ['/x', 'c:/x', 'rook-ceph-rgw:8080', 'é://x', 'a-b://x', '']) {
      assert.ok(!isUrl(path), path);
    }
  });

  it('finds every absolute path that was percent-encoded into a file URL', () => {
    const segment = fc
      .string({ unit: 'grapheme', minLength: 1 })
      .filter((text) => !/^\.{1,2}$|[/\0]/u.test(text) && text.isWellFormed());
    fc.assert(
      fc.property(fc.array(segment, { minLength: 1, maxLength: 4 }), (segments) => {
        const url = `file:///${segments.map((each) => encodeURIComponent(each)).join('/')}`;
        assert.equal(parseReplicaUrl(url).path, `/${segments.join('/')}`);
      }),
    );
  });

  it('answers any text with parts or with its own error', () => {
    const text = fc.oneof(
      fc.string(),
      fc.string().map((rest) => `s3://${rest}`),
      fc.string().map((rest) => `file:${rest}`),
      fc.string().map((rest) => `s3://arn:${rest}`),
    );
    fc.assert(fc.property(text, (url) => assert.equal(typeof messageOf(url), 'string')));
  });
});
