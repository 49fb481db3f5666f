import { throwIfAborted } from '../lib/clock.ts';
import { lockPgno } from '../lib/page.ts';
import {
  chunkLayout,
  FRAME_HEADER,
  IN_CHUNK,
  IN_FILE,
  type ChunkLayout,
  type ChunkRequest,
  type EncodeReply,
} from './encode-chunk.ts';
import { LtxFileWriter } from './ltx-file-writer.ts';
import type { LtxFileWriterOptions, WrittenLtxFile } from './ltx-writer-types.ts';
import type { PageSource } from './page-source.ts';

/** What the pool does for an encoder. */
export interface ThreadPort {
  /** Chunks the encoder may have. */
  readonly chunks: number;
  readonly encode: (request: ChunkRequest) => Promise<EncodeReply>;
}

interface Chunk {
  readonly memory: SharedArrayBuffer;
  readonly pages: Uint8Array<SharedArrayBuffer>;
  readonly pgnos: Uint32Array<SharedArrayBuffer>;
  readonly origins: Uint8Array<SharedArrayBuffer>;
  count: number;
}

interface Sent {
  readonly chunk: Chunk;
  /** Settles without rejecting, so that nobody has to be waiting. */
  readonly outcome: Promise<EncodeReply | { readonly error: unknown }>;
}

/**
 * Writes a file of every page of a source, with the work on threads. A thread reads the pages of a chunk from the database file and
 * puts their frames into shared memory; only pages that are elsewhere are read here. Chunks are written in file order, and
 * their CRCs are combined. The bytes of the file are the same as without threads.
 *
 * Spec: performance 7.
 */
export class ThreadedEncoder {
  readonly #writer: LtxFileWriter;
  readonly #source: PageSource;
  readonly #port: ThreadPort;
  readonly #pageSize: number;
  readonly #lock: number;
  readonly #layout: ChunkLayout;
  readonly #free: Chunk[] = [];
  /** In file order. */
  readonly #sent: Sent[] = [];
  #made = 0;
  /** The next page. */
  #pgno = 1;

  constructor(options: LtxFileWriterOptions, source: PageSource, port: ThreadPort) {
    this.#writer = new LtxFileWriter(options);
    this.#source = source;
    this.#port = port;
    this.#pageSize = options.header.pageSize;
    this.#lock = lockPgno(this.#pageSize);
    this.#layout = chunkLayout(this.#pageSize);
  }

  /** Once it returns or throws, no thread reads any more. */
  async run(signal: AbortSignal | undefined): Promise<WrittenLtxFile> {
    try {
      do {
        this.#sendAll();
        await this.#takeOldest();
        throwIfAborted(signal);
      } while (this.#sent.length > 0 || this.#pgno <= this.#source.commit);
      this.#source.release?.();
      return await this.#writer.finish();
    } catch (error) {
      this.#writer.discard();
      throw error;
    } finally {
      await Promise.all(this.#sent.map(({ outcome }) => outcome));
    }
  }

  /** Fills every free chunk. */
  #sendAll(): void {
    while (this.#pgno <= this.#source.commit) {
      const chunk = this.#free.pop() ?? this.#make();
      if (chunk === undefined) return;
      this.#fill(chunk);
      const outcome = this.#encode(chunk).catch((error: unknown) => ({ error }));
      this.#sent.push({ chunk, outcome });
    }
  }

  #fill(chunk: Chunk): void {
    const { commit } = this.#source;
    chunk.count = 0;
    for (; this.#pgno <= commit && chunk.count < this.#layout.pages; this.#pgno++) {
      if (this.#pgno === this.#lock) continue;
      this.#writer.accept(this.#pgno);
      const slot = chunk.count++;
      chunk.pgnos[slot] = this.#pgno;
      chunk.origins[slot] = IN_FILE;
      if (!this.#source.isInFile(this.#pgno)) this.#readHere(chunk, slot);
    }
  }

  async #encode(chunk: Chunk): Promise<EncodeReply> {
    const { count, memory } = chunk;
    const descriptor = this.#source.descriptor();
    const request = { pageSize: this.#pageSize, count, descriptor, chunk: memory };
    const reply = await this.#port.encode(request);
    // Throws if the descriptor was closed meanwhile: other bytes may have been read then.
    this.#source.descriptor();
    if (reply.bytes >= 0) return reply;
    for (let slot = 0; slot < count; slot++) {
      if (chunk.origins[slot] === IN_FILE) this.#readHere(chunk, slot);
    }
    return this.#port.encode(request);
  }

  #readHere(chunk: Chunk, slot: number): void {
    const at = slot * this.#pageSize;
    this.#source.read(chunk.pgnos[slot] ?? 0, 1, chunk.pages.subarray(at, at + this.#pageSize));
    chunk.origins[slot] = IN_CHUNK;
  }

  /** Waits for the oldest chunk and writes it. */
  async #takeOldest(): Promise<void> {
    const sent = this.#sent.shift();
    if (sent === undefined) return;
    const reply = await sent.outcome;
    if ('error' in reply) throw reply.error;
    const { chunk } = sent;
    const { pgnos, sizes, frames } = this.#layout;
    await this.#writer.appendPart({
      frames: new Uint8Array(chunk.memory, frames, reply.bytes),
      sizes: new Uint32Array(chunk.memory, sizes, chunk.count),
      pgnos: new Uint32Array(chunk.memory, pgnos, chunk.count),
      state: reply.state,
      hashed: chunk.count * (FRAME_HEADER + this.#pageSize),
    });
    this.#free.push(chunk);
  }

  #make(): Chunk | undefined {
    if (this.#made === this.#port.chunks) return undefined;
    this.#made++;
    const memory = new SharedArrayBuffer(this.#layout.bytes);
    const { origins, pages, pgnos } = this.#layout;
    return {
      memory,
      pages: new Uint8Array(memory, 0, pgnos),
      pgnos: new Uint32Array(memory, pgnos, pages),
      origins: new Uint8Array(memory, origins, pages),
      count: 0,
    };
  }
}
