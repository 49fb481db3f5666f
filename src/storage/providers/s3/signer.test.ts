import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { whyRefused } from '../../../../test/support/fake-s3/sigv4.ts';
import { encodeKey, encodeQuery } from './address.ts';
import { sha256Hex, sign, type Unsigned, UNSIGNED_PAYLOAD } from './signer.ts';

/** The key of the examples in the documentation of Amazon S3. */
const CREDENTIALS = {
  accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
  secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
};
const CONTEXT = {
  region: 'us-east-1',
  credentials: CREDENTIALS,
  now: Date.UTC(2013, 4, 24),
};
const TARGET = { protocol: 'https:', host: 'examplebucket.s3.amazonaws.com', port: 443 } as const;

const GET: Unsigned = {
  method: 'GET',
  target: TARGET,
  path: '/',
  query: {},
  headers: {},
  payload: sha256Hex(''),
};

describe('signatures of version 4', () => {
  const examples: readonly (readonly [string, Partial<Unsigned>, string])[] = [
    [
      'a range of an object',
      { path: '/test.txt', headers: { range: 'bytes=0-9' } },
      'f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41',
    ],
    [
      'a subresource without a value',
      { query: { lifecycle: '' } },
      'fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543',
    ],
    [
      'a listing',
      { query: { 'max-keys': '2', prefix: 'J' } },
      '34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7',
    ],
  ];
  for (const [what, request, signature] of examples) {
    it(`BKD-04 are those of Amazon's examples: ${what}`, async () => {
      const headers = await sign({ ...GET, ...request }, CONTEXT);
      assert.equal(headers['authorization']?.split('Signature=')[1], signature);
    });
  }

  it('BKD-04 hold for any key, query and port, as they are sent', async () => {
    const text = fc.string({ unit: 'grapheme', maxLength: 30 }).map((each) => each.toWellFormed());
    await fc.assert(
      fc.asyncProperty(
        text,
        fc.dictionary(fc.constantFrom('prefix', 'uploadId', 'continuation-token', 'delete'), text),
        fc.constantFrom(443, 80, 9000),
        fc.uint8Array(),
        async (key, query, port, body) => {
          const path = `/${encodeKey(key)}`;
          const target = { ...TARGET, port };
          const payload = sha256Hex(body);
          const headers = await sign({ ...GET, path, query, target, payload }, CONTEXT);
          const request = { method: 'GET', path, query: encodeQuery(query), headers, body };
          assert.equal(whyRefused(request, CREDENTIALS, { now: CONTEXT.now }), undefined);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('carry the token of temporary credentials', async () => {
    const credentials = { ...CREDENTIALS, sessionToken: 'temporary==' };
    const headers = await sign({ ...GET, payload: UNSIGNED_PAYLOAD }, { ...CONTEXT, credentials });
    assert.equal(headers['x-amz-security-token'], 'temporary==');
    assert.equal(headers['x-amz-content-sha256'], 'UNSIGNED-PAYLOAD');
    const request = { method: 'GET', path: '/', query: '', headers, body: new Uint8Array() };
    assert.equal(whyRefused(request, credentials, { now: CONTEXT.now }), undefined);
    assert.equal(whyRefused(request, CREDENTIALS, { now: CONTEXT.now }), 'InvalidToken');
  });
});
