import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'node:test';
import { Authorizer } from './authorizer.ts';
import { parseChallenges } from './challenges.ts';
import { DigestAnswers, digestRank } from './digest.ts';

const credentials = { username: 'Mufasa', password: 'Circle of Life' };
const DIGEST = 'Digest realm="dav", nonce="n1", qop="auth", algorithm=MD5';

function fields(header: string | undefined): Map<string, string> {
  return new Map(parseChallenges(header ?? '')[0]?.parameters);
}

describe('parseChallenges', () => {
  it('reads several offers with quotes and commas', () => {
    const found = parseChallenges(
      'Basic realm="a, \\"b\\"", Digest realm="c",qop="auth,auth-int", nonce=abc , stale=TRUE,Negotiate',
    );
    assert.deepEqual(
      found.map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)]),
      [
        ['basic', { realm: 'a, "b"' }],
        ['digest', { realm: 'c', qop: 'auth,auth-int', nonce: 'abc', stale: 'TRUE' }],
        ['negotiate', {}],
      ],
    );
    assert.deepEqual(parseChallenges(''), []);
    assert.deepEqual(parseChallenges('=,;"'), []);
  });
});

describe('Digest', () => {
  /** The examples of RFC 7616, section 3.9.1. */
  for (const [algorithm, response] of [
    ['MD5', '8ca523f5e9506fed4657c9700eebdbec'],
    ['SHA-256', '753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1'],
  ] as const) {
    it(`answers with ${algorithm} as the standard does`, () => {
      const [challenge] = parseChallenges(
        `Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=${algorithm}, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"`,
      );
      assert.ok(challenge !== undefined && digestRank(challenge) > 0);
      const cnonce = 'f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ';
      const answers = new DigestAnswers(challenge, credentials, () => cnonce);
      const sent = fields(answers.header('GET', '/dir/index.html'));
      assert.equal(sent.get('response'), response);
      assert.equal(sent.get('uri'), '/dir/index.html');
      assert.equal(sent.get('nc'), '00000001');
      assert.equal(sent.get('opaque'), 'FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS');
      assert.equal(fields(answers.header('GET', '/x')).get('nc'), '00000002');
      answers.renew('other');
      assert.equal(fields(answers.header('GET', '/x')).get('nc'), '00000001');
    });
  }

  it('answers servers that know no qop (RFC 2069)', () => {
    const [challenge] = parseChallenges(
      'Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093"',
    );
    assert.ok(challenge !== undefined);
    const sent = fields(
      new DigestAnswers(challenge, credentials, () => 'c').header('GET', '/dir/index.html'),
    );
    const md5 = (text: string): string => createHash('md5').update(text).digest('hex');
    const user = md5('Mufasa:testrealm@host.com:Circle of Life');
    const uri = md5('GET:/dir/index.html');
    const expected = md5(`${user}:dcd98b7102dd2f0e8b11d0f600bfb0c093:${uri}`);
    assert.equal(sent.get('response'), expected);
    assert.equal(sent.get('qop'), undefined);
    assert.equal(sent.get('nc'), undefined);
  });

  it('prefers SHA-256 and refuses what it does not know', () => {
    const rank = (text: string): number => parseChallenges(text).map(digestRank)[0] ?? 0;
    assert.ok(rank('Digest nonce="n", algorithm=SHA-256') > rank('Digest nonce="n"'));
    assert.ok(rank('Digest nonce="n", algorithm=MD5-sess') > 0);
    for (const text of [
      'Digest realm="x"',
      'Digest nonce="n", algorithm=SHA-512-256',
      'Digest nonce="n", qop="auth-int"',
      'Basic realm="x"',
    ]) {
      assert.equal(rank(text), 0, text);
    }
  });

  it('sends names beyond ASCII as UTF-8', () => {
    const [challenge] = parseChallenges(DIGEST);
    assert.ok(challenge !== undefined);
    const user = { username: 'é"\\', password: 'p' };
    const header = new DigestAnswers(challenge, user, () => 'c').header('GET', '/');
    assert.ok(Buffer.from(header, 'latin1').toString().includes('username="é\\"\\\\"'));
  });
});

describe('Authorizer', () => {
  it('sends nothing without credentials', () => {
    const authorizer = new Authorizer({ credentials: undefined, secure: true });
    assert.equal(authorizer.header('GET', '/'), undefined);
    assert.equal(authorizer.challenged('Basic realm="x"', undefined), false);
  });

  it('sends Basic at once over TLS', () => {
    const authorizer = new Authorizer({ credentials, secure: true });
    const sent = authorizer.header('GET', '/') ?? '';
    assert.equal(Buffer.from(sent.slice(6), 'base64').toString(), 'Mufasa:Circle of Life');
    assert.equal(authorizer.challenged('Basic realm="x"', sent), false, 'refused');
  });

  it('never shows the password to a server that speaks Digest without TLS', () => {
    const authorizer = new Authorizer({ credentials, secure: false });
    assert.equal(authorizer.header('OPTIONS', '/'), undefined);
    assert.equal(authorizer.challenged(`Basic realm="x", ${DIGEST}`, undefined), true);
    const sent = authorizer.header('OPTIONS', '/');
    assert.match(sent ?? '', /^Digest /);
    assert.equal(authorizer.challenged(DIGEST.replace('n1', 'n2'), sent), false, 'wrong password');
  });

  it('sends Basic from then on where nothing was asked for', () => {
    const authorizer = new Authorizer({ credentials, secure: false });
    authorizer.accepted(undefined, {});
    assert.match(authorizer.header('PUT', '/') ?? '', /^Basic /);
    const sent = authorizer.header('PUT', '/');
    assert.equal(authorizer.challenged(DIGEST, sent), true, 'changes over to Digest');
    assert.match(authorizer.header('PUT', '/') ?? '', /^Digest /);
  });

  it('takes a new nonce when the old one has run out or the server has started anew', () => {
    const authorizer = new Authorizer({ credentials, secure: false });
    authorizer.challenged(DIGEST, undefined);
    const first = authorizer.header('PUT', '/a');
    assert.equal(authorizer.challenged(`${DIGEST.replace('n1', 'n2')}, stale=true`, first), true);
    assert.equal(fields(authorizer.header('PUT', '/a')).get('nonce'), 'n2');
    const second = authorizer.header('PUT', '/a');
    authorizer.accepted(second, {});
    assert.equal(authorizer.challenged(DIGEST.replace('n1', 'n3'), second), true);
    assert.equal(fields(authorizer.header('PUT', '/a')).get('nonce'), 'n3');
    authorizer.accepted(second, { 'authentication-info': 'qop=auth, nextnonce="n4"' });
    assert.equal(fields(authorizer.header('PUT', '/a')).get('nonce'), 'n4');
  });
});
