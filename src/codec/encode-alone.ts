import { throwIfAborted, yieldToLoop } from '../lib/clock.ts';
import { LtxFileWriter } from './ltx-file-writer.ts';
import type { LtxFileWriterOptions, WrittenLtxFile } from './ltx-writer-types.ts';
import type { EncodeTurns, PageSource } from './page-source.ts';

/** The event loop gets a turn after this long. */
const TURN_MS = 8;

/**
 * Writes a file of every page of a source, on the calling thread. The event loop gets its turns.
 *
 * Spec: performance 7.
 *
 * @throws LitestreamError of the source or the sink, `ERR_ABORTED`
 */
export async function encodeAlone(
  options: LtxFileWriterOptions,
  source: PageSource,
  { clock, signal }: EncodeTurns,
): Promise<WrittenLtxFile> {
  const writer = new LtxFileWriter(options);
  const { pageSize } = options.header;
  try {
    let turn = clock.monotonic();
    for (let pgno = 1; pgno <= source.commit; pgno += writer.slots) {
      const count = Math.min(writer.slots, source.commit - pgno + 1);
      source.read(pgno, count, writer.window.subarray(0, count * pageSize));
      await writer.writeRun(pgno, count);
      if (clock.monotonic() - turn < TURN_MS) continue;
      await yieldToLoop();
      throwIfAborted(signal);
      turn = clock.monotonic();
    }
    source.release?.();
    return await writer.finish();
  } catch (error) {
    writer.discard();
    throw error;
  }
}
