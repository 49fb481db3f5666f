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
import type { XmlElement } from '../../xml/index.ts';

/** An object in a listing. */
export interface OssObject {
  readonly key: string;
  /** Bytes. */
  readonly size: number;
  /** Milliseconds since the Unix epoch; undefined if the store does not say. */
  readonly modifiedAt: number | undefined;
}

export interface OssPage {
  readonly objects: readonly OssObject[];
  /** Asks for the next page; undefined = this is the last one. */
  readonly next: string | undefined;
}

/** An upload in parts that nobody has completed. */
export interface OpenUpload {
  readonly key: string;
  readonly uploadId: string;
  /** Milliseconds since the Unix epoch; undefined if the store does not say. */
  readonly initiatedAt: number | undefined;
}

/** Callers name the request. */
const CONTEXT: AnswerContext = { where: '', service: 'Alibaba Cloud OSS' };

function rootOf(name: string, text: string): Promise<XmlElement> {
  return answerRoot(CONTEXT, name, text);
}

/** Undoes `encoding-type=url`. */
function percentDecode(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    throw unexpectedAnswer(CONTEXT, 'a percent-encoded key', JSON.stringify(text));
  }
}

function saysEncoded(root: XmlElement): boolean {
  return textOf(root, 'EncodingType').trim() === 'url';
}

/** A page of ListObjectsV2, asked for with `encoding-type=url`. */
export async function readPage(text: string, prefix: string): Promise<OssPage> {
  const root = await rootOf('ListBucketResult', text);
  const encoded = saysEncoded(root);
  // A service that does not say so may have encoded the keys all the same: then the prefix tells.
  const decode = (key: string): string =>
    !encoded && key.startsWith(prefix) ? key : percentDecode(key);
  const objects = root.children('Contents').map((entry) => ({
    key: decode(textOf(entry, 'Key')),
    size: sizeOf(CONTEXT, entry),
    modifiedAt: parseRfc3339(textOf(entry, 'LastModified')),
  }));
  const token = nextToken(CONTEXT, root);
  return { objects, next: token !== undefined && encoded ? percentDecode(token) : token };
}

/** The keys that a delete says are gone. */
export async function readDeleted(text: string): Promise<ReadonlySet<string>> {
  const root = await rootOf('DeleteResult', text);
  const encoded = saysEncoded(root);
  const keys = root.children('Deleted').map((entry) => textOf(entry, 'Key'));
  return new Set(encoded ? keys.map(percentDecode) : keys);
}

/** The id of a new upload in parts. */
export function readUploadId(text: string): Promise<string> {
  return uploadIdIn(CONTEXT, text);
}

/** @throws LitestreamError if the answer does not say that the upload is complete, whatever its status. */
export async function readCompleted(text: string): Promise<void> {
  await rootOf('CompleteMultipartUploadResult', text);
}

/** Uploads in parts below a prefix. */
export async function readOpenUploads(text: string): Promise<readonly OpenUpload[]> {
  const root = await rootOf('ListMultipartUploadsResult', text);
  const encoded = saysEncoded(root);
  return root.children('Upload').map((entry) => ({
    key: encoded ? percentDecode(textOf(entry, 'Key')) : textOf(entry, 'Key'),
    uploadId: textOf(entry, 'UploadId'),
    initiatedAt: parseRfc3339(textOf(entry, 'Initiated')),
  }));
}
