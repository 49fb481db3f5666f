import assert from 'node:assert/strict';
import { test } from 'node:test';
import { toTxid } from '../../formats/ltx/index.ts';
import { DurationValue, type LogAttributes } from '../../telemetry/index.ts';
import { createLogger, type LoggerOptions, parseLogLevel } from './logger.ts';

const TIME = new Date(2026, 2, 1, 9, 0, 0, 40).getTime();
/** The zone of this machine at that time, as the handlers must show it. */
const offset = -new Date(TIME).getTimezoneOffset();
const digits = (value: number): string => String(value).padStart(2, '0');
const zone =
  offset === 0
    ? 'Z'
    : `${offset < 0 ? '-' : '+'}${digits(Math.floor(Math.abs(offset) / 60))}:${digits(Math.abs(offset) % 60)}`;

function line(
  options: Partial<LoggerOptions>,
  message: string,
  attributes?: LogAttributes,
): string | undefined {
  const lines: string[] = [];
  const write = (text: string): void => void lines.push(text);
  const logger = createLogger({ type: 'text', level: 'info', now: () => TIME, write, ...options });
  logger.with({ system: 'store', db: 'app.db' }).log('info', message, attributes);
  return lines[0];
}

const ATTRIBUTES: LogAttributes = {
  level: 0,
  txid: { min: toTxid(10), max: toTxid(255) },
  'sync-interval': new DurationValue(90_000),
  error: new Error('open "x": no'),
  list: ['a', 'b'],
  empty: '',
  absent: undefined,
  ok: true,
};

test('text lines keep the order, repeat keys, flatten groups and quote what needs it', () => {
  assert.equal(
    line({}, 'two words', ATTRIBUTES),
    `time=2026-03-01T09:00:00.040${zone} level=INFO msg="two words" system=store db=app.db level=0 ` +
      'txid.min=000000000000000a txid.max=00000000000000ff sync-interval=1m30s ' +
      'error="open \\"x\\": no" list="[a b]" empty="" ok=true\n',
  );
});

test('JSON lines have durations in nanoseconds, and nested groups', () => {
  assert.equal(
    line({ type: 'json' }, 'two words', ATTRIBUTES),
    `{"time":"2026-03-01T09:00:00.04${zone}","level":"INFO","msg":"two words","system":"store","db":"app.db",` +
      '"level":0,"txid":{"min":"000000000000000a","max":"00000000000000ff"},"sync-interval":90000000000,' +
      '"error":"open \\"x\\": no","list":["a","b"],"empty":"","ok":true}\n',
  );
});

test('pretty lines are short, and coloured on a terminal only', () => {
  assert.equal(
    line({ type: 'pretty' }, 'two words', { path: '/a b' }),
    '09:00:00 INF two words system=store db=app.db path="/a b"\n',
  );
  assert.equal(
    line({ type: 'pretty', terminal: true }, 'x', { level: '' }),
    '\u001b[2m09:00:00\u001b[0m \u001b[92mINF\u001b[0m x ' +
      '\u001b[2msystem=\u001b[0mstore \u001b[2mdb=\u001b[0mapp.db \u001b[2mlevel=\u001b[0m""\n',
  );
});

const QUOTING: readonly (readonly [text: string, shown: string])[] = [
  ['plain', 'plain'],
  ['back\\slash', 'back\\slash'],
  ['é', 'é'],
  ['a=b', '"a=b"'],
  ['a"b', '"a\\"b"'],
  ['a\nb\t', '"a\\nb\\t"'],
  ['\u0000\u007f', '"\\x00\\x7f"'],
  ['a\u00a0b', '"a\\u00a0b"'],
  ['\u{e0001}', '"\\U000e0001"'],
  ['a b\\', '"a b\\\\"'],
];
for (const [text, shown] of QUOTING) {
  test(`the value ${JSON.stringify(text)} is written ${shown}`, () => {
    assert.equal(line({}, 'm', { k: text })?.split(' db=app.db ')[1], `k=${shown}\n`);
  });
}

test('records below the level are dropped', () => {
  assert.equal(line({ level: 'warn' }, 'm'), undefined);
  const logger = createLogger({
    type: '',
    level: 'debug',
    now: () => TIME,
    write: () => undefined,
  });
  assert.ok(logger.enabled('debug'));
  assert.ok(!logger.enabled('trace'));
});

test('level names have any case, and unknown ones mean info', () => {
  assert.equal(parseLogLevel('DEBUG'), 'debug');
  assert.equal(parseLogLevel('Warning'), 'warn');
  assert.equal(parseLogLevel('nonsense'), 'info');
  assert.equal(parseLogLevel(''), 'info');
});

test('the source of a record is the file and line that logged it', () => {
  const lines: string[] = [];
  const logger = createLogger({
    type: 'text',
    level: 'info',
    source: true,
    now: () => TIME,
    write: (text) => void lines.push(text),
  });
  const logFrom = (): void => logger.log('info', 'm');
  logFrom();
  assert.match(lines[0] ?? '', / level=INFO source=[\w.-]+:\d+ msg=m\n$/);
});
