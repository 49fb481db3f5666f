import { assert } from '../lib/assert.ts';
import {
  chunkLayout,
  FRAME_HEADER,
  type ChunkLayout,
  type EncodeReply,
  type EncodeRequest,
} from './encode-chunk.ts';
import {
  LtxFileWriter,
  type LtxFileWriterOptions,
  type LtxPageWriter,
  type WrittenLtxFile,
} from './ltx-file-writer.ts';

/** What the pool does for a writer. */
export interface ThreadPort {
  /** Chunks the writer may have, at least 2. */
  readonly chunks: number;
  readonly encode: (request: Omit<EncodeRequest, 'id'>) => Promise<EncodeReply>;
  readonly release: () => void;
}

interface Chunk {
  readonly memory: SharedArrayBuffer;
  readonly bytes: Uint8Array<SharedArrayBuffer>;
  readonly pgnos: Uint32Array<SharedArrayBuffer>;
  count: number;
}

interface Sent {
  readonly chunk: Chunk;
  /** Settles without rejecting, so that nobody has to be waiting. */
  readonly outcome: Promise<EncodeReply | { readonly error: unknown }>;
}

/**
 * {@link LtxFileWriter} with the compression on threads. Pages are collected in chunks of shared memory; frames come back
 * in the same memory and are written in file order; the CRCs of the chunks are combined. The bytes of the file are the
 * same as without threads.
 */
export class ThreadedLtxWriter implements LtxPageWriter {
  readonly #inner: LtxFileWriter;
  readonly #port: ThreadPort;
  readonly #pageSize: number;
  readonly #layout: ChunkLayout;
  readonly #free: Chunk[] = [];
  /** In file order. */
  readonly #sent: Sent[] = [];
  #made = 0;
  #filling: Chunk | undefined;
  #pageCount = 0;
  #released = false;

  constructor(options: LtxFileWriterOptions, port: ThreadPort) {
    this.#inner = new LtxFileWriter(options);
    this.#port = port;
    this.#pageSize = options.header.pageSize;
    this.#layout = chunkLayout(this.#pageSize);
  }

  get pageCount(): number {
    return this.#pageCount;
  }

  /** True while every chunk is on its way. */
  get needsFlush(): boolean {
    return (
      this.#filling === undefined && this.#free.length === 0 && this.#made === this.#port.chunks
    );
  }

  slot(): Uint8Array {
    const chunk = this.#current();
    const at = chunk.count * this.#pageSize;
    return chunk.bytes.subarray(at, at + this.#pageSize);
  }

  add(pgno: number): void {
    const chunk = this.#current();
    this.#inner.accept(pgno);
    chunk.pgnos[chunk.count++] = pgno;
    this.#pageCount++;
    if (chunk.count === this.#layout.pages) this.#send(chunk);
  }

  /** Waits for the oldest chunk and writes it. */
  async flush(): Promise<void> {
    const sent = this.#sent.shift();
    if (sent === undefined) return;
    const reply = await sent.outcome;
    if ('error' in reply) throw reply.error;
    const { chunk } = sent;
    const { pgnos, sizes, frames } = this.#layout;
    await this.#inner.appendPart({
      frames: new Uint8Array(chunk.memory, frames, reply.bytes),
      sizes: new Uint32Array(chunk.memory, sizes, chunk.count),
      pgnos: new Uint32Array(chunk.memory, pgnos, chunk.count),
      state: reply.state,
      hashed: chunk.count * (FRAME_HEADER + this.#pageSize),
    });
    chunk.count = 0;
    this.#free.push(chunk);
  }

  async finish(postApplyChecksum = 0n): Promise<WrittenLtxFile> {
    if (this.#filling !== undefined && this.#filling.count > 0) this.#send(this.#filling);
    while (this.#sent.length > 0) await this.flush();
    const written = await this.#inner.finish(postApplyChecksum);
    this.#release();
    return written;
  }

  discard(): void {
    this.#inner.discard();
    this.#release();
  }

  #release(): void {
    if (this.#released) return;
    this.#released = true;
    this.#port.release();
  }

  /** The chunk that takes the next page. */
  #current(): Chunk {
    assert(!this.needsFlush, 'a due flush comes before the next page');
    this.#filling ??= this.#free.pop() ?? this.#make();
    return this.#filling;
  }

  #make(): Chunk {
    const memory = new SharedArrayBuffer(this.#layout.bytes);
    this.#made++;
    return {
      memory,
      bytes: new Uint8Array(memory, 0, this.#layout.pgnos),
      pgnos: new Uint32Array(memory, this.#layout.pgnos, this.#layout.pages),
      count: 0,
    };
  }

  #send(chunk: Chunk): void {
    this.#filling = undefined;
    const { memory, count } = chunk;
    const outcome = this.#port
      .encode({ pageSize: this.#pageSize, count, chunk: memory })
      .catch((error: unknown) => ({ error }));
    this.#sent.push({ chunk, outcome });
  }
}
