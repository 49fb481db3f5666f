import type { JsMsg } from '@nats-io/jetstream';
import { parseRfc3339 } from '../../../lib/time-text.ts';
import type { Session } from './connection.ts';
import { messages } from './messages.ts';
import { raceAbort } from '../../streams.ts';

/** The header of an object that holds the LTX file's time. */
export const TIMESTAMP_HEADER = 'Litestream-Timestamp';

/** What the store knows of an object: its last meta message. */
export interface ObjectInfo {
  readonly name: string;
  /** Names the chunks: `$O.<bucket>.C.<nuid>`. */
  readonly nuid: string;
  /** Bytes. */
  readonly size: number;
  readonly chunks: number;
  /** `SHA-256=<base64url>`; '' if there is none. */
  readonly digest: string;
  readonly deleted: boolean;
  /** Time of the LTX header, if it was stored. Milliseconds since the Unix epoch. */
  readonly headerTime: number | undefined;
  /** When the store got it. */
  readonly storedAt: number;
  /** Place of the meta message in the stream. */
  readonly sequence: number;
  /** The JSON document. */
  readonly document: Readonly<Record<string, unknown>>;
}

export function metaSubject(bucket: string, name: string): string {
  const encoded = Buffer.from(name).toString('base64').replaceAll('+', '-').replaceAll('/', '_');
  return `$O.${bucket}.M.${encoded}`;
}

export function chunkSubject(bucket: string, nuid: string): string {
  return `$O.${bucket}.C.${nuid}`;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function count(value: unknown): number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : 0;
}

function headerTime(headers: unknown): number | undefined {
  if (!isRecord(headers)) return undefined;
  const values = headers[TIMESTAMP_HEADER];
  const first: unknown = Array.isArray(values) ? values[0] : values;
  return typeof first === 'string' ? parseRfc3339(first) : undefined;
}

interface Stored {
  readonly data: Uint8Array;
  readonly sequence: number;
  readonly storedAt: number;
}

/** Undefined for what is no meta document: other programs may store what they like. */
function parseMeta({ data, sequence, storedAt }: Stored): ObjectInfo | undefined {
  let document: unknown;
  try {
    document = JSON.parse(new TextDecoder().decode(data));
  } catch {
    return undefined;
  }
  if (!isRecord(document) || text(document['name']) === '') return undefined;
  return {
    name: text(document['name']),
    nuid: text(document['nuid']),
    size: count(document['size']),
    chunks: count(document['chunks']),
    digest: text(document['digest']),
    deleted: document['deleted'] === true,
    headerTime: headerTime(document['headers']),
    storedAt,
    sequence,
    document,
  };
}

/** The object's last meta message, that of a deletion included. Asks the leader: what was written before is seen. */
export async function objectInfo(
  { manager, bucket, stream }: Session,
  name: string,
  signal: AbortSignal,
): Promise<ObjectInfo | undefined> {
  const subject = metaSubject(bucket, name);
  const found = await raceAbort(
    manager.streams.getMessage(stream, { last_by_subj: subject }),
    signal,
  );
  if (found === null) return undefined;
  const { data, seq: sequence, time } = found;
  return parseMeta({ data, sequence, storedAt: time.getTime() });
}

function fromMessage(message: JsMsg): ObjectInfo | undefined {
  const { data, seq: sequence, info } = message;
  return parseMeta({ data, sequence, storedAt: Math.floor(info.timestampNanos / 1e6) });
}

/** An object as a listing remembers it: there may be a hundred thousand. */
export type ListedObject = Omit<ObjectInfo, 'document' | 'nuid' | 'digest' | 'chunks'>;

/** All objects of the bucket, deleted ones that have left a trace included, in no particular order. */
export async function allObjects(session: Session, signal: AbortSignal): Promise<ListedObject[]> {
  const objects = new Map<string, ListedObject>();
  const query = { subject: `$O.${session.bucket}.M.>`, lastPerSubject: true, window: 1000 };
  for await (const message of messages(session, query, signal)) {
    const info = fromMessage(message);
    // An object that is written meanwhile may come twice, its newer state last.
    if (info === undefined) continue;
    const { name, size, deleted, headerTime: time, storedAt, sequence } = info;
    objects.set(name, { name, size, deleted, headerTime: time, storedAt, sequence });
  }
  return [...objects.values()];
}
