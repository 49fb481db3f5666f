import { createHash } from 'node:crypto';
import type { FakeFault, FakeRequest } from './rules.ts';

const KEPT_HEADERS = /^(?:x-amz-meta-|x-amz-storage-class$|x-amz-server-side-encryption)/;

export function md5(bytes: Uint8Array): Buffer {
  return createHash('md5').update(bytes).digest();
}

export function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

function unescape(text: string): string {
  return text.replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&amp;', '&');
}

export function fieldsOf(text: string, name: string): string[] {
  return [...text.matchAll(new RegExp(`<${name}>([^<]*)</${name}>`, 'g'))].map((found) =>
    unescape(found[1] ?? ''),
  );
}

export class Refusal extends Error {
  readonly status: number;
  readonly code: string;
  constructor(status: number, code: string, message = '') {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export interface Answer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer | string;
}

export function kept(headers: FakeRequest['headers']): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => KEPT_HEADERS.test(name)));
}

export function xml(text: string): Answer {
  const body = `<?xml version="1.0" encoding="UTF-8"?>\n${text}`;
  return { status: 200, headers: { 'content-type': 'application/xml' }, body };
}

export function faultAnswer({ status, code, message = '', headers = {}, body }: FakeFault): Answer {
  const text =
    body ??
    (code === undefined
      ? ''
      : `<?xml version="1.0"?><Error><Code>${code}</Code><Message>${escape(message)}</Message></Error>`);
  return { status, headers: { 'content-type': 'application/xml', ...headers }, body: text };
}

export function ranged(
  range: string | undefined,
  bytes: Buffer,
  headers: Readonly<Record<string, string>>,
): Answer {
  const found = /^bytes=(\d+)-(\d*)$/.exec(range ?? '');
  if (found === null) return { status: 200, headers, body: bytes };
  const first = Number(found[1]);
  const last = Math.min(bytes.length - 1, found[2] === '' ? Infinity : Number(found[2]));
  if (first > last) throw new Refusal(416, 'InvalidRange');
  return {
    status: 206,
    headers: { ...headers, 'content-range': `bytes ${first}-${last}/${bytes.length}` },
    body: bytes.subarray(first, last + 1),
  };
}
