/** The XML answers of S3, and of services that were made after it. */
import { LitestreamError } from '../lib/errors.ts';
import { parseXml, type XmlElement } from './xml/index.ts';

/** Whose answer to what it is, for errors. */
export interface AnswerContext {
  /** `s3: list objects page`; empty if the caller puts it in front of the message. */
  readonly where: string;
  /** `an S3-compatible service` */
  readonly service: string;
}

/** Something between us and the store may have answered: worth another attempt. */
export function unexpectedAnswer(
  { where, service }: AnswerContext,
  expected: string,
  found: string,
): LitestreamError {
  const text = `unexpected answer: expected ${expected}, found ${found}`;
  return new LitestreamError('ERR_STORAGE_TEMPORARY', where === '' ? text : `${where}: ${text}`, {
    retryable: true,
    details: { field: expected, expected, found },
    hint: `check that the endpoint is that of ${service}`,
  });
}

/** The text of a child element, empty without one. */
export function textOf(element: XmlElement, name: string): string {
  return element.text(name) ?? '';
}

/** The root of an answer, which has to have this name. */
export async function answerRoot(
  context: AnswerContext,
  name: string,
  text: string,
): Promise<XmlElement> {
  const root = await parseXml(text, { what: context.where === '' ? 'answer' : context.where });
  if (root.name === name) return root;
  throw unexpectedAnswer(context, `<${name}>`, `<${root.name}>`);
}

/** The size of an object in a listing, in bytes. */
export function sizeOf(context: AnswerContext, entry: XmlElement): number {
  const text = textOf(entry, 'Size').trim();
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw unexpectedAnswer(context, 'a size', JSON.stringify(text));
}

/** What asks for the next page of a listing, as it stands there; undefined if this is the last one. */
export function nextToken(context: AnswerContext, root: XmlElement): string | undefined {
  if (textOf(root, 'IsTruncated').trim() !== 'true') return undefined;
  const token = textOf(root, 'NextContinuationToken');
  // Going on without it would take a part for the whole.
  if (token !== '') return token;
  throw unexpectedAnswer(context, 'NextContinuationToken', 'a truncated list without one');
}

/** The id of a new upload in parts. */
export async function readUploadId(context: AnswerContext, text: string): Promise<string> {
  const id = textOf(await answerRoot(context, 'InitiateMultipartUploadResult', text), 'UploadId');
  if (id === '') throw unexpectedAnswer(context, 'UploadId', 'none');
  return id;
}
