/**
 * Nothing that the program prints, logs or answers may hold a secret. Tests take their secrets from here, and whatever starts the
 * program, asks it something or listens to its logger has the text checked here.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { after } from 'node:test';
import type { LogAttributes } from '../../src/telemetry/index.ts';

/** Shorter texts may stand in an output by accident. */
const LENGTH_MIN = 12;

/** Values by which secrets go through configurations, URLs and the environment. */
const SECRET_NAME =
  'secret-access-key|account-key|sas-token|connection-string|(?:webdav-)?password|key-passphrase|sse-customer-key|jwt|seed|token';
const SECRET_SETTING = new RegExp(
  `(?<![\\w-])(?:${SECRET_NAME})["']?: *(?:"((?:[^"\\\\\\n]|\\\\.)*)"|'([^'\\n]*)'|([^\\s,}{"'$[|][^\\s,}]*))`,
  'g',
);
const SECRET_VARIABLE = /SECRET|TOKEN|PASSWORD|ACCOUNT_KEY/;
const URL_LOGIN = /\b[a-z][a-z0-9+.-]*:\/\/[^/?#\s:@"']*:([^/?#\s@"']+)@/g;
const URL_PARAMETER = /[?&](?:sse-?customer-?key|sig|[\w-]*(?:secret|token))=([^&#\s"']+)/gi;

/** What looks like a secret whatever its value. */
const SHAPES: Readonly<Record<string, RegExp>> = {
  'a private key': /-----BEGIN [A-Z ]*(?:PRIVATE KEY|NKEY SEED)/,
  'an Authorization header':
    /authorization["']?\s*[:=]\s*["']?(?:basic|bearer|digest|sharedkey|aws4|oss4?|goog4)\b/i,
  'credentials of an Authorization header':
    /\b(?:(?:AWS4|OSS4|GOOG4)-[A-Z0-9-]+ Credential=|SharedKey \w+:[\w+/]|Bearer [\w.~+/-]{12,})/,
  'a signature': /\b(?:X-Amz-)?(?:Signature|sig)=(?!\*)[\w%+/.-]{16,}/i,
  'a token of a session': /\bx-(?:amz|oss)-security-token["']?\s*[:=]\s*["']?[\w%+/.-]{8,}/i,
};

/** Where secrets are known by: what to look for, and what to call it. */
const known = new Map<string, string>();

/** The secret as it looks within longer base64 text, wherever it begins there. */
function withinBase64(secret: string): string[] {
  return [0, 1, 2].map((shift) => {
    const bytes = Buffer.from(' '.repeat(shift) + secret);
    const whole = Math.floor((bytes.length * 8) / 6);
    return bytes.toString('base64').slice(Math.ceil((shift * 8) / 6), whole);
  });
}

/** Has the program's outputs searched for a secret, in this process, from now on. Lines of a key count one by one. Returns it. */
export function registerSecret(name: string, secret: string): string {
  const lines = secret.split('\n').filter((line) => !line.startsWith('-----') && line !== '');
  for (const line of lines) {
    if (line.length < LENGTH_MIN) {
      if (lines.length > 1) continue;
      throw new Error(`the secret ${name} is too short to be told from other text: ${line}`);
    }
    const forms = [line, JSON.stringify(line).slice(1, -1), Buffer.from(line).toString('hex')];
    for (const form of [...forms, ...withinBase64(line)]) known.set(form, name);
  }
  return secret;
}

/** A new secret that {@link registerSecret} knows, and no other text holds by accident. `shape` is its beginning. */
export function makeSecret(name: string, shape = ''): string {
  return registerSecret(name, shape + randomBytes(12).toString('hex'));
}

/** {@link makeSecret} of so many bytes, in base64. */
export function makeSecretKey(name: string, size: number): string {
  return registerSecret(name, randomBytes(size).toString('base64'));
}

function unescaped(text: string): string {
  return text.replaceAll(/%([0-9a-f]{2})/gi, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
}

function foundIn(text: string): { readonly what: string; readonly shown: string } | undefined {
  for (const [form, name] of known) {
    if (text.includes(form)) return { what: `the secret "${name}"`, shown: form };
  }
  for (const [what, shape] of Object.entries(SHAPES)) {
    const shown = shape.exec(text)?.[0];
    if (shown !== undefined) return { what, shown };
  }
  return undefined;
}

/** What a text shows that it must not; undefined for a clean one. The answer does not hold the secret. */
export function findSecret(text: string): string | undefined {
  for (const form of text.includes('%') ? [text, unescaped(text)] : [text]) {
    const found = foundIn(form);
    if (found === undefined) continue;
    const at = form.indexOf(found.shown);
    const from = form.lastIndexOf('\n', at) + 1;
    const before = form.slice(Math.max(from, at - 120), at);
    return `${found.what}, behind ${JSON.stringify(before)}`;
  }
  return undefined;
}

/** Fails if a text that left the program holds a secret. The message names the stream. */
export function assertNoSecret(stream: string, text: string): void {
  const found = findSecret(text);
  if (found !== undefined) throw new Error(`${stream} shows ${found}`);
}

function textOf(value: unknown): string {
  return JSON.stringify(value, (_key, each: unknown) => {
    if (typeof each === 'bigint') return each.toString();
    if (!(each instanceof Error)) return each;
    return {
      ...Object.fromEntries(Object.entries(each)),
      message: each.message,
      cause: each.cause,
    };
  });
}

/** Fails the test that is running, or the test file where none is, without throwing here: its cleaning up goes on. */
function reportLeak(text: string): void {
  after(() => {
    throw new Error(text);
  });
  // A test that has ended does not ask for its hooks any more.
  process.once('exit', () => {
    process.stderr.write(`${text}\n`);
    process.exitCode = 1;
  });
}

/** {@link assertNoSecret} where nobody can take an error: the running test fails by itself. */
export function reportSecrets(stream: string, text: string): void {
  const found = findSecret(text);
  if (found !== undefined) reportLeak(`${stream} shows ${found}`);
}

/** {@link reportSecrets} for an error: its text, its hint, its details and its causes. */
export function checkError(what: string, error: unknown): void {
  reportSecrets(what, `${String(error)}\n${textOf(error)}`);
}

/** For loggers of tests: fails the test that is running if a record shows a secret, whatever the one who logs does with errors. */
export function checkRecord(message: string, attributes?: LogAttributes): void {
  reportSecrets(`a log record "${message}"`, `${message} ${textOf(attributes ?? {})}`);
}

function contentOf(path: string): string {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true
    ? readFileSync(path, 'utf8')
    : '';
}

/** Registers every secret that a command is given: in its environment, its arguments and the configuration it is pointed to. */
export function registerGiven(
  args: readonly string[],
  environment: Readonly<Record<string, string | undefined>> = {},
): void {
  for (const [name, value = ''] of Object.entries(environment)) {
    if (SECRET_VARIABLE.test(name) && value !== '') registerSecret(name, value);
  }
  const named = args.includes('-config') ? args[args.indexOf('-config') + 1] : undefined;
  const config = named ?? environment['LITESTREAM_CONFIG'];
  const text = [...args, config === undefined ? '' : contentOf(config)].join('\n');
  for (const [, ...forms] of text.matchAll(SECRET_SETTING)) {
    const value = forms.find((form) => (form as string | undefined) !== undefined) ?? '';
    if (value !== '') registerSecret('in the configuration', value.replaceAll(/\\(.)/g, '$1'));
  }
  for (const pattern of [URL_LOGIN, URL_PARAMETER]) {
    for (const [, value = ''] of text.matchAll(pattern)) {
      registerSecret('in a URL', unescaped(value));
    }
  }
}
