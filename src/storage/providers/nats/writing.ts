import { createHash } from 'node:crypto';
import { isAborted } from '../../../lib/clock.ts';
import { LitestreamError } from '../../../lib/errors.ts';
import { formatRfc3339 } from '../../../lib/time-text.ts';
import type { WriteSource } from '../../contract.ts';
import { headerTimestamp, LTX_HEADER_SIZE } from '../../header-time.ts';
import { raceAbort } from '../../streams.ts';
import { uploadParts } from '../../upload-parts.ts';
import type { Session } from './connection.ts';
import { isWrongLastSequence } from './errors.ts';
import {
  chunkSubject,
  metaSubject,
  objectInfo,
  type ObjectInfo,
  TIMESTAMP_HEADER,
} from './objects.ts';

/** As every object store client does by default. */
const CHUNK_SIZE = 128 * 1024;
/** Room for headers in a message. */
const PAYLOAD_RESERVE = 1024;
/** Chunks on their way at the same time. */
const CHUNKS_IN_FLIGHT = 16;
/** Writers that may be faster than we are, one after the other. */
const RACES_MAX = 20;
/** The reference leaves this field empty; readers take the time of the message. */
const NO_TIME = '0001-01-01T00:00:00Z';

/** Who has given up an upload waits no longer for its remains to go. */
const ABORTED_MS_MAX = 1000;

const ROLLUP = 'Nats-Rollup';

export interface PutOptions {
  readonly ifAbsent: boolean;
  readonly signal: AbortSignal;
}

interface Upload {
  readonly nuid: string;
  /** Chunks that were sent and not confirmed yet, by their place in the stream. */
  readonly sent: Promise<number>[];
}

/** The content of an object, stored and not yet visible. */
interface Content {
  readonly nuid: string;
  readonly size: number;
  readonly chunks: number;
  readonly chunkSize: number;
  readonly digest: string;
  /** Of the LTX header. */
  readonly createdAt: number;
}

/**
 * Stores an object: its chunks, then the meta message that makes it visible. An object of this name is replaced, its chunks
 * removed.
 *
 * @returns the time of the LTX header.
 * @throws LitestreamError `ERR_STORAGE_EXISTS` with `ifAbsent`.
 */
export async function putObject(
  session: Session,
  name: string,
  source: WriteSource,
  { ifAbsent, signal }: PutOptions,
): Promise<number> {
  const before = await objectInfo(session, name, signal);
  if (ifAbsent && before?.deleted === false) throw exists(name);
  const nuid = session.sdk.transport.nuid.next();
  const sent: Promise<number>[] = [];
  let content: Content;
  try {
    content = await putChunks(session, { nuid, sent }, source, signal);
  } catch (error) {
    await cleanUp(session, { nuid, sent }, isAborted(signal));
    throw error;
  }
  const replaced = await publish(session, { name, content, before, ifAbsent, signal });
  if (replaced !== undefined) await purgeChunks(session, replaced.nuid, signal);
  return content.createdAt;
}

/** Sends the chunks in order, several at a time. One connection keeps their order. */
async function putChunks(
  session: Session,
  { nuid, sent: waiting }: Upload,
  source: WriteSource,
  signal: AbortSignal,
): Promise<Content> {
  const { connection, publisher, bucket } = session;
  const payloadMax = (connection.info?.max_payload ?? CHUNK_SIZE) - PAYLOAD_RESERVE;
  const chunkSize = Math.max(LTX_HEADER_SIZE, Math.min(CHUNK_SIZE, payloadMax));
  const hash = createHash('sha256');
  const subject = chunkSubject(bucket, nuid);
  let createdAt = 0;
  let chunks = 0;
  let last = 0;
  const confirm = async (upTo: number): Promise<void> => {
    while (waiting.length > upTo) {
      const sequence = await raceAbort(waiting.shift() ?? Promise.resolve(0), signal);
      if (sequence <= last) throw disordered(nuid);
      last = sequence;
    }
  };
  for await (const { bytes, number } of uploadParts(source, chunkSize, signal)) {
    if (number === 1) createdAt = headerTimestamp(bytes.subarray(0, LTX_HEADER_SIZE));
    hash.update(bytes);
    chunks = number;
    const sent = publisher.publish(subject, bytes).then(({ seq }) => seq);
    sent.catch(() => {
      // Reported when its turn comes.
    });
    waiting.push(sent);
    await confirm(CHUNKS_IN_FLIGHT - 1);
  }
  await confirm(0);
  const digest = hash.digest('base64').replaceAll('+', '-').replaceAll('/', '_');
  return { nuid, size: source.size, chunks, chunkSize, digest: `SHA-256=${digest}`, createdAt };
}

interface Publication {
  readonly name: string;
  readonly content: Content;
  readonly before: ObjectInfo | undefined;
  readonly ifAbsent: boolean;
  readonly signal: AbortSignal;
}

/**
 * Makes the object visible, in place of exactly the one that was looked at, so that the chunks of a replaced one can be removed.
 *
 * @returns what was replaced.
 */
async function publish(
  session: Session,
  { name, content, before, ifAbsent, signal }: Publication,
): Promise<ObjectInfo | undefined> {
  let seen = before;
  for (let race = 0; race < RACES_MAX; race++) {
    try {
      await publishMeta(session, { name, document: metaOf(session, name, content), seen, signal });
      return seen?.deleted === false ? seen : undefined;
    } catch (error) {
      // Without an answer nobody knows: the chunks must stay, for the object may be there.
      if (!isWrongLastSequence(error)) throw error;
      seen = await objectInfo(session, name, signal);
      // The answer of the library's own first attempt was lost.
      if (seen?.nuid === content.nuid) return undefined;
      if (!ifAbsent || seen?.deleted !== false) continue;
      await purgeChunks(session, content.nuid, signal);
      throw exists(name);
    }
  }
  await purgeChunks(session, content.nuid, signal);
  throw new LitestreamError('ERR_STORAGE_TEMPORARY', `nats: others write ${name} all the time`, {
    retryable: true,
    details: { key: name },
  });
}

interface MetaMessage {
  readonly name: string;
  readonly document: Readonly<Record<string, unknown>>;
  readonly seen: ObjectInfo | undefined;
  readonly signal: AbortSignal;
}

/** @returns its place in the stream. */
async function publishMeta(
  { sdk, publisher, bucket }: Session,
  { name, document, seen, signal }: MetaMessage,
): Promise<number> {
  const headers = sdk.transport.headers();
  headers.set(ROLLUP, 'sub');
  const sending = publisher.publish(metaSubject(bucket, name), JSON.stringify(document), {
    headers,
    expect: { lastSubjectSequence: seen?.sequence ?? 0 },
  });
  const { seq } = await raceAbort(sending, signal);
  return seq;
}

/** The document as the reference writes it, field by field. */
function metaOf(
  { bucket }: Session,
  name: string,
  content: Content,
): Readonly<Record<string, unknown>> {
  const { nuid, size, chunks, chunkSize, digest, createdAt } = content;
  return {
    name,
    headers: { [TIMESTAMP_HEADER]: [formatRfc3339(createdAt)] },
    options: { max_chunk_size: chunkSize },
    bucket,
    nuid,
    size,
    mtime: NO_TIME,
    chunks,
    digest,
  };
}

/**
 * Removes an object; a missing one counts as removed. The mark that object stores leave in its place goes, too: listings would
 * have to read it for ever.
 */
export async function deleteObject(
  session: Session,
  name: string,
  signal: AbortSignal,
): Promise<void> {
  let seen = await objectInfo(session, name, signal);
  for (let race = 0; race < RACES_MAX && seen !== undefined; race++) {
    const { nuid, deleted } = seen;
    let mark = seen.sequence;
    if (!deleted) {
      const { digest: _, ...rest } = seen.document;
      const document = { ...rest, size: 0, chunks: 0, deleted: true };
      try {
        mark = await publishMeta(session, { name, document, seen, signal });
      } catch (error) {
        if (!isWrongLastSequence(error)) throw error;
        seen = await objectInfo(session, name, signal);
        continue;
      }
    }
    await purgeChunks(session, nuid, signal);
    const filter = metaSubject(session.bucket, name);
    // Up to the mark and not further: somebody may have stored a new object by now.
    await raceAbort(
      session.manager.streams.purge(session.stream, { filter, seq: mark + 1 }),
      signal,
    );
    return;
  }
}

/** Empties the bucket. */
export async function deleteEverything(
  { manager, stream }: Session,
  signal: AbortSignal,
): Promise<void> {
  await raceAbort(manager.streams.purge(stream), signal);
}

async function purgeChunks(
  { manager, stream, bucket }: Session,
  nuid: string,
  signal: AbortSignal,
): Promise<void> {
  if (nuid === '') return;
  await raceAbort(manager.streams.purge(stream, { filter: chunkSubject(bucket, nuid) }), signal);
}

/** Removes the chunks of an upload that failed, if the server can be reached. The upload's error is the one that matters. */
async function cleanUp(session: Session, { nuid, sent }: Upload, aborted: boolean): Promise<void> {
  const limit = AbortSignal.timeout(aborted ? ABORTED_MS_MAX : session.timeoutMs);
  const signal = AbortSignal.any([session.lost, limit]);
  try {
    // The server may purge before it stores what it got before.
    await raceAbort(Promise.allSettled(sent), signal);
    await purgeChunks(session, nuid, signal);
  } catch {
    // They take room until somebody empties the bucket, and are never seen.
  }
}

function exists(name: string): LitestreamError {
  return new LitestreamError('ERR_STORAGE_EXISTS', `nats: object ${name} exists`, {
    details: { key: name },
  });
}

function disordered(nuid: string): LitestreamError {
  return new LitestreamError(
    'ERR_STORAGE_TEMPORARY',
    `nats: chunks of ${nuid} were stored out of order`,
    {
      retryable: true,
      details: { nuid },
    },
  );
}
