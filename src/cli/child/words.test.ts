import assert from 'node:assert/strict';
import { test } from 'node:test';
import { splitCommand } from './words.ts';

const SPLIT: readonly (readonly [text: string, words: readonly string[]])[] = [
  ['a b  c', ['a', 'b', 'c']],
  [`x a 'b c' "d \\"e" f\\ g ""`, ['x', 'a', 'b c', 'd "e', 'f g', '']],
  [`a'b'"c"d`, ['abcd']],
  ['echo $HOME *.db $(x y) `z w`', ['echo', '$HOME', '*.db', '$(x y)', '`z w`']],
  ['a; b', ['a']],
  ['a b&c', ['a', 'b']],
  ['a|b', ['a']],
  ['a <b', ['a']],
  ['a >b', ['a']],
  ['a 2>x', ['a']],
  ['a b2>x', ['a', 'b2']],
  [`a ';' "|"`, ['a', ';', '|']],
  [`'a\\b'`, ['a\\b']],
];
for (const [text, words] of SPLIT) {
  test(`splits ${text}`, () => assert.deepEqual(splitCommand(text), words));
}

for (const text of ['"a', "'a", 'a\\', '`a', '$(a', 'a (b)', 'a )']) {
  test(`refuses ${text}`, () => {
    assert.throws(() => splitCommand(text), {
      message: 'cannot parse exec command: invalid command line string',
    });
  });
}

for (const text of ['', '  ', '; a']) {
  test(`finds no command in ${JSON.stringify(text)}`, () => {
    assert.throws(() => splitCommand(text), {
      message: 'cannot parse exec command: empty command',
    });
  });
}
