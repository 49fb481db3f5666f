import { parseRfc3339 } from '../../../lib/time-text.ts';
import {
  type AnswerContext,
  answerRoot,
  nextToken,
  readUploadId as uploadIdIn,
  sizeOf,
  textOf,
  unexpectedAnswer,
} from '../../bucket-answers.ts';
import { parseXml, type XmlElement } from '../../xml/index.ts';

/** What an error document says. Everything is empty if there is none. */
export interface ServiceError {
  readonly code: string;
  readonly message: string;
  readonly region: string;
}

/** An object in a listing. */
export interface ListedObject {
  readonly key: string;
  /** Bytes. */
  readonly size: number;
  /** Milliseconds since the Unix epoch. */
  readonly modifiedAt: number;
}

export interface ListPage {
  readonly objects: readonly ListedObject[];
  /** Asks for the next page; undefined = this is the last one. */
  readonly next: string | undefined;
}

export interface DeleteResult {
  readonly deleted: number;
  readonly errors: readonly DeleteError[];
}

export interface DeleteError {
  readonly key: string;
  readonly code: string;
  readonly message: string;
}

/** An upload in parts that nobody has completed. */
export interface OpenUpload {
  readonly key: string;
  readonly uploadId: string;
  /** Milliseconds since the Unix epoch. */
  readonly initiatedAt: number;
}

const NO_ERROR: ServiceError = { code: '', message: '', region: '' };

/** The error in an answer's text; tolerant, because proxies answer with pages of their own. */
export async function readError(text: string): Promise<ServiceError> {
  if (!text.includes('<Error')) return NO_ERROR;
  let root: XmlElement;
  try {
    root = await parseXml(text, { what: 's3: error' });
  } catch {
    return NO_ERROR;
  }
  if (root.name !== 'Error') return NO_ERROR;
  const part = (name: string): string => root.text(name)?.trim() ?? '';
  return { code: part('Code'), message: part('Message'), region: part('Region') };
}

function contextOf(what: string): AnswerContext {
  return { where: `s3: ${what}`, service: 'an S3-compatible service' };
}

function rootOf(what: string, name: string, text: string): Promise<XmlElement> {
  return answerRoot(contextOf(what), name, text);
}

/** A page of ListObjectsV2, asked for with the token that is given. */
export async function readListPage(
  what: string,
  text: string,
  asked: string | undefined,
): Promise<ListPage> {
  const context = contextOf(what);
  const root = await answerRoot(context, 'ListBucketResult', text);
  const objects = root.children('Contents').map((entry) => ({
    key: textOf(entry, 'Key'),
    size: sizeOf(context, entry),
    modifiedAt: parseRfc3339(textOf(entry, 'LastModified')) ?? 0,
  }));
  const next = nextToken(context, root);
  if (next !== undefined && next === asked) {
    throw unexpectedAnswer(context, 'another page', 'the same one again');
  }
  return { objects, next };
}

/** The answer to DeleteObjects. */
export async function readDeleteResult(what: string, text: string): Promise<DeleteResult> {
  const root = await rootOf(what, 'DeleteResult', text);
  const errors = root.children('Error').map((entry) => ({
    key: textOf(entry, 'Key'),
    code: textOf(entry, 'Code').trim(),
    message: textOf(entry, 'Message').trim(),
  }));
  return { deleted: root.children('Deleted').length, errors };
}

/** The id of a new upload in parts. */
export function readUploadId(what: string, text: string): Promise<string> {
  return uploadIdIn(contextOf(what), text);
}

/** The ETag of a completed upload; empty if the answer is an error document, which comes with status 200. */
export async function readCompleted(what: string, text: string): Promise<string> {
  return textOf(await rootOf(what, 'CompleteMultipartUploadResult', text), 'ETag');
}

/** A page of uploads in parts. */
export async function readOpenUploads(what: string, text: string): Promise<OpenUpload[]> {
  const root = await rootOf(what, 'ListMultipartUploadsResult', text);
  return root.children('Upload').map((entry) => ({
    key: textOf(entry, 'Key'),
    uploadId: textOf(entry, 'UploadId'),
    initiatedAt: parseRfc3339(textOf(entry, 'Initiated')) ?? Infinity,
  }));
}

/** The region of a bucket. An empty answer is the oldest one, `EU` its first neighbour. */
export async function readLocation(what: string, text: string): Promise<string> {
  const root = await rootOf(what, 'LocationConstraint', text);
  const found = root.text()?.trim() ?? '';
  if (found === '') return 'us-east-1';
  return found === 'EU' ? 'eu-west-1' : found;
}
