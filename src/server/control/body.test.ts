import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BodyError, booleanField, decodeObject, integerField, textField } from './body.ts';

const REFUSED: readonly (readonly [body: string, details: string | RegExp])[] = [
  ['', 'EOF'],
  [' \n', 'EOF'],
  ['{', 'unexpected EOF'],
  ['{"path":"a', 'unexpected EOF'],
  ['{"path":"\\"}', 'unexpected EOF'],
  ['[]', 'expected an object'],
  ['"x"', 'expected an object'],
  ['5', 'expected an object'],
  ['\0\u0001', 'expected an object'],
  ['nullable', 'expected an object'],
  ['{path:1}', /JSON/],
  ['{"a":1]', /JSON/],
];
for (const [body, details] of REFUSED) {
  test(`the body ${JSON.stringify(body)} is refused`, () => {
    assert.throws(
      () => decodeObject(body),
      (error) =>
        error instanceof BodyError &&
        (typeof details === 'string' ? error.message === details : details.test(error.message)),
    );
  });
}

test('what follows the first object is ignored, names match without regard to case, null is empty', () => {
  for (const body of [
    '{"Path":"/a"} trailing',
    '{"x":"}{","path":"/b","PATH":"/a"}{',
    ' {"path":"/a"}]',
  ]) {
    assert.equal(textField(decodeObject(body), 'path'), '/a', body);
  }
  for (const body of ['null', 'null,', '{}', '{"path":null}', '{"other":1}']) {
    assert.equal(textField(decodeObject(body), 'path'), '', body);
  }
});

test('fields of another type are refused, also in a name that is not used', () => {
  const fields = decodeObject('{"path":5,"wait":"yes","timeout":"5","txid":1.5,"big":1e30}');
  assert.throws(() => textField(fields, 'path'), BodyError);
  assert.throws(() => booleanField(fields, 'wait'), BodyError);
  for (const name of ['timeout', 'txid', 'big']) {
    assert.throws(() => integerField(fields, name), BodyError);
  }
});

test('any object is found, whatever follows it', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue()), fc.string(), (object, rest) => {
      const fields = decodeObject(JSON.stringify(object) + rest);
      for (const [name, value] of Object.entries(object)) {
        const sameName = Object.keys(object).filter(
          (other) => other.toLowerCase() === name.toLowerCase(),
        );
        if (sameName.length === 1) {
          assert.deepEqual(fields.get(name.toLowerCase()), JSON.parse(JSON.stringify(value)));
        }
      }
    }),
  );
});

test('no text makes the decoder fail in any other way', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      try {
        decodeObject(text);
      } catch (error) {
        assert.ok(error instanceof BodyError);
      }
    }),
  );
});
