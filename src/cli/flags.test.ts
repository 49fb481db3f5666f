import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  boolFlag,
  durationFlag,
  FlagError,
  HelpRequest,
  intFlag,
  parseFlags,
  stringFlag,
} from './flags.ts';

const flags = {
  config: stringFlag('PATH', 'file'),
  json: boolFlag('JSON'),
  timeout: intFlag('SECONDS', 'limit', 10),
  'follow-interval': durationFlag('pause', 1000),
};

test('all forms of a flag mean the same', () => {
  const forms = [['-config', 'x'], ['--config', 'x'], ['-config=x'], ['--config=x', '--']];
  for (const args of forms) assert.equal(parseFlags(flags, args).values.config, 'x');
});

test('the last occurrence wins and defaults stay', () => {
  const { values, given } = parseFlags(flags, [
    '-json',
    '-json=0',
    '-timeout',
    '3',
    '-timeout=0x10',
  ]);
  assert.deepEqual(
    { ...values },
    { config: '', json: false, timeout: 16, 'follow-interval': 1000 },
  );
  assert.deepEqual([...given], ['json', 'timeout']);
});

test('flags end at the first positional argument, at a lone dash and after two dashes', () => {
  assert.deepEqual(parseFlags(flags, ['-json', 'true', '-x']).positionals, ['true', '-x']);
  assert.deepEqual(parseFlags(flags, ['-', '-json']).positionals, ['-', '-json']);
  assert.deepEqual(parseFlags(flags, ['--', '-json']).positionals, ['-json']);
  assert.deepEqual(parseFlags(flags, ['', '-json']).positionals, ['', '-json']);
});

test('an empty text is a value', () => {
  assert.equal(parseFlags(flags, ['-config', '']).values.config, '');
  assert.equal(parseFlags(flags, ['-config=']).values.config, '');
});

test('integers have every notation of the reference', () => {
  const cases: readonly (readonly [text: string, value: number])[] = [
    ['10', 10],
    ['-3', -3],
    ['+3', 3],
    ['0x1F', 31],
    ['0o17', 15],
    ['017', 15],
    ['0b11', 3],
    ['1_000', 1000],
    ['0', 0],
  ];
  for (const [text, value] of cases) {
    assert.equal(parseFlags(flags, ['-timeout', text]).values.timeout, value, text);
  }
});

const ERRORS: readonly (readonly [args: readonly string[], message: string])[] = [
  [['-foo'], 'flag provided but not defined: -foo'],
  [['--foo=1'], 'flag provided but not defined: -foo'],
  [['-toString'], 'flag provided but not defined: -toString'],
  [['-timeout'], 'flag needs an argument: -timeout'],
  [['-timeout', 'x'], 'invalid value "x" for flag -timeout: parse error'],
  [['-timeout', '1__0'], 'invalid value "1__0" for flag -timeout: parse error'],
  [['-timeout='], 'invalid value "" for flag -timeout: parse error'],
  [
    ['-timeout', '99999999999999999999'],
    'invalid value "99999999999999999999" for flag -timeout: value out of range',
  ],
  [['-json=maybe'], 'invalid boolean value "maybe" for -json: parse error'],
  [['-json='], 'invalid boolean value "" for -json: parse error'],
  [['-follow-interval', '5'], 'invalid value "5" for flag -follow-interval: parse error'],
  [['---json'], 'bad flag syntax: ---json'],
  [['-=x'], 'bad flag syntax: -=x'],
  [['--=x'], 'bad flag syntax: --=x'],
];
for (const [args, message] of ERRORS) {
  test(`${args.join(' ')}: ${message}`, () => {
    assert.throws(
      () => parseFlags(flags, args),
      (error) => error instanceof FlagError && error.message === message,
    );
  });
}

test('-h and -help ask for help', () => {
  for (const word of ['-h', '--h', '-help', '--help']) {
    assert.throws(() => parseFlags(flags, [word]), HelpRequest);
  }
});
