import * as fs from 'node:fs';
import {
  createKernel,
  LtxFileReader,
  readerBytes,
  type LtxFileWriterOptions,
  type PageSource,
} from '../../src/codec/index.ts';
import { toTxid } from '../../src/formats/ltx/index.ts';

const WINDOW_BYTES = 256 * 1024;

/** Something that writes a file of every page of a source. */
export type Encode = (options: LtxFileWriterOptions, source: PageSource) => Promise<unknown>;

/** What {@link encodeDatabase} makes. */
export interface Encoding {
  readonly from: string;
  readonly to: string;
  readonly pageSize: number;
}

/** Writes a database file as the LTX file of transaction 1. */
export async function encodeDatabase(run: Encode, { from, pageSize, to }: Encoding): Promise<void> {
  const source = fs.openSync(from, 'r');
  const target = fs.openSync(to, 'w');
  const commit = fs.fstatSync(source).size / pageSize;
  const [minTxid, maxTxid] = [toTxid(1), toTxid(1)];
  const none = { preApplyChecksum: 0n, walOffset: 0, walSize: 0, walSalt1: 0, walSalt2: 0 };
  try {
    await run(
      {
        header: {
          flags: 2,
          pageSize,
          commit,
          minTxid,
          maxTxid,
          timestampMs: 1,
          ...none,
          nodeId: 0n,
        },
        sink: (bytes, position) => void fs.writeSync(target, bytes, 0, bytes.length, position),
      },
      {
        commit,
        descriptor: () => source,
        isInFile: () => true,
        read: (first, count, bytes) =>
          void fs.readSync(source, bytes, 0, count * pageSize, (first - 1) * pageSize),
      },
    );
  } finally {
    fs.closeSync(source);
    fs.closeSync(target);
  }
}

/** Reads an LTX file, verifies it and puts its pages into a database file. @returns the bytes of its pages */
export function decodeInto(file: string, database: string, pageSize: number): number {
  const source = fs.openSync(file, 'r');
  const target = fs.openSync(database, fs.constants.O_RDWR | fs.constants.O_CREAT);
  const kernel = createKernel({ arenaBytes: 65_536 + readerBytes(WINDOW_BYTES, WINDOW_BYTES) });
  const reader = new LtxFileReader({
    kernel,
    base: kernel.base,
    stream: 0,
    windowBytes: WINDOW_BYTES,
    pageBytes: WINDOW_BYTES,
  });
  let bytes = 0;
  try {
    for (let state = reader.next(); state !== 'end'; state = reader.next()) {
      if (state === 'input') {
        const read = fs.readSync(source, reader.room());
        if (read === 0) reader.endInput();
        else reader.filled(read);
        continue;
      }
      for (let from = 0; from < reader.count;) {
        let end = from + 1;
        while (end < reader.count && reader.pgnoAt(end) === reader.pgnoAt(end - 1) + 1) end++;
        const length = (end - from) * pageSize;
        const position = (reader.pgnoAt(from) - 1) * pageSize;
        fs.writeSync(target, kernel.bytes, reader.pageAt(from), length, position);
        bytes += length;
        from = end;
      }
    }
    reader.finish();
  } finally {
    fs.closeSync(source);
    fs.closeSync(target);
  }
  return bytes;
}
