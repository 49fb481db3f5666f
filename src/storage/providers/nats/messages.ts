import type { Consumer, JsMsg } from '@nats-io/jetstream';
import { LitestreamError } from '../../../lib/errors.ts';
import { abortable, raceAbort } from '../../streams.ts';
import type { Session } from './connection.ts';

/** A request for messages that brings fewer than asked for ends after this. */
const PULL_MS = 2000;
/** Pulls in a row that may bring nothing although something is left. */
const EMPTY_PULLS_MAX = 3;
/** The server forgets a reader that nobody ended after this; a restore may let a stream rest for minutes. */
const READER_MS = 600_000;

export interface MessageQuery {
  readonly subject: string;
  /** Sequence in the stream to start at. Default: from the beginning. */
  readonly start?: number | undefined;
  /** Only the last message of each subject. */
  readonly lastPerSubject?: boolean | undefined;
  /** Only the headers, with the size of what is left out in `Nats-Msg-Size`. */
  readonly headersOnly?: boolean | undefined;
  /** Messages that are fetched ahead: what bounds the memory. */
  readonly window: number;
}

/** Messages of the stream in order, as many as are there. Ends its reader in the server. */
export async function* messages(
  session: Session,
  query: MessageQuery,
  signal: AbortSignal,
): AsyncGenerator<JsMsg, void, undefined> {
  const reader = await openReader(session, query, signal);
  try {
    yield* reader.run(query.window, signal);
  } finally {
    reader.end();
  }
}

async function openReader(
  { sdk, manager, publisher, stream }: Session,
  { subject, start, lastPerSubject = false, headersOnly = false }: MessageQuery,
  signal: AbortSignal,
): Promise<Reader> {
  const { AckPolicy, DeliverPolicy } = sdk.jetstream;
  const { nanos, nuid } = sdk.transport;
  const adding = manager.consumers.add(stream, {
    name: `litestream_${nuid.next()}`,
    filter_subject: subject,
    ack_policy: AckPolicy.None,
    max_deliver: 1,
    mem_storage: true,
    num_replicas: 1,
    inactive_threshold: nanos(READER_MS),
    headers_only: headersOnly,
    ...(start === undefined
      ? { deliver_policy: lastPerSubject ? DeliverPolicy.LastPerSubject : DeliverPolicy.All }
      : { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: start }),
  });
  const info = await raceAbort(adding, signal);
  const consumer = publisher.consumers.getConsumerFromInfo(info);
  return new Reader(consumer, info.num_pending, () => manager.consumers.delete(stream, info.name));
}

class Reader {
  readonly #consumer: Consumer;
  readonly #remove: () => Promise<unknown>;
  /** Messages that are not delivered yet. */
  #left: number;
  #delivered = 0;

  constructor(consumer: Consumer, pending: number, remove: () => Promise<unknown>) {
    this.#consumer = consumer;
    this.#left = pending;
    this.#remove = remove;
  }

  async *run(window: number, signal: AbortSignal): AsyncGenerator<JsMsg, void, undefined> {
    let empty = 0;
    while (this.#left > 0) {
      const wanted = Math.min(window, this.#left);
      let got = 0;
      for await (const message of this.#pull(wanted, signal)) {
        got++;
        yield message;
      }
      empty = got === 0 ? empty + 1 : 0;
      // What was deleted meanwhile never comes.
      if (got < wanted && this.#left > 0) await this.#recount(signal);
      if (empty >= EMPTY_PULLS_MAX && this.#left > 0) throw incomplete(this.#left);
    }
  }

  async *#pull(count: number, signal: AbortSignal): AsyncGenerator<JsMsg, void, undefined> {
    const options = { max_messages: count, expires: PULL_MS };
    const batch = await raceAbort(this.#consumer.fetch(options), signal);
    try {
      for await (const message of abortable(batch, signal)) {
        const { deliverySequence, pending } = message.info;
        this.#delivered++;
        // A message that was sent and never arrived, as when the connection broke, is not sent again.
        if (deliverySequence !== this.#delivered) throw incomplete(this.#left);
        this.#left = pending;
        yield message;
        if (pending === 0) return;
      }
    } finally {
      batch.stop();
    }
  }

  async #recount(signal: AbortSignal): Promise<void> {
    const { num_pending: pending } = await raceAbort(this.#consumer.info(), signal);
    this.#left = pending;
  }

  /** Does not wait: the server does it, or forgets the reader by itself. */
  end(): void {
    this.#remove().catch(() => {
      // Nothing depends on it.
    });
  }
}

function incomplete(left: number): LitestreamError {
  return new LitestreamError('ERR_STORAGE_TEMPORARY', `nats: ${left} messages did not arrive`, {
    retryable: true,
    details: { left },
  });
}
