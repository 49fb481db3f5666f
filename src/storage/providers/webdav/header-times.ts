import { formatFileName } from '../../../formats/ltx/index.ts';
import { errorMessage, isLitestreamError } from '../../../lib/errors.ts';
import type { Logger } from '../../../telemetry/index.ts';
import type { CallOptions, FileInfo, FileKey, ReadOptions } from '../../contract.ts';
import { headerTimestamp, LTX_HEADER_SIZE } from '../../header-time.ts';
import { collect } from '../../streams.ts';
import type { Member } from './listing.ts';

export interface HeaderTimesPorts {
  readonly logger: Logger;
  read(key: FileKey, options: ReadOptions): AsyncIterable<Uint8Array>;
}

/**
 * Creation times from the headers of files: the server only knows when a file was uploaded. A header is read once for each
 * version of a file.
 */
export class HeaderTimes {
  readonly #ports: HeaderTimesPorts;
  /** By level: times by the name and version of a file. */
  readonly #levels = new Map<number, Map<string, number>>();

  constructor(ports: HeaderTimesPorts) {
    this.#ports = ports;
  }

  /** Times of one listing. What is not asked for now is forgotten at its end. */
  begin(level: number): LevelTimes {
    const known = this.#levels.get(level) ?? new Map<string, number>();
    const next = new Map<string, number>();
    return {
      of: async (file, member, options) => {
        const version = `${member.name} ${file.size} ${member.modifiedAt} ${member.etag}`;
        const time = known.get(version) ?? (await this.read(file, options));
        if (time !== undefined) next.set(version, time);
        return time;
      },
      end: () => {
        this.#levels.set(level, next);
      },
    };
  }

  /** The time in a file's header, read now. Undefined if the file is gone. */
  async read(file: FileInfo, { signal }: CallOptions): Promise<number | undefined> {
    const { level, minTxid, maxTxid, createdAt } = file;
    try {
      const header = this.#ports.read(file, { offset: 0, size: LTX_HEADER_SIZE, signal });
      return headerTimestamp(await collect(header));
    } catch (error) {
      if (isLitestreamError(error, 'ERR_STORAGE_NOT_FOUND')) return undefined;
      if (!isLitestreamError(error, 'ERR_LTX_HEADER')) throw error;
      this.#ports.logger.log('warn', 'no time in the header, using the time of the upload', {
        level,
        name: formatFileName(minTxid, maxTxid),
        error: errorMessage(error),
      });
      return createdAt;
    }
  }
}

/** See {@link HeaderTimes.begin}. */
export interface LevelTimes {
  of(file: FileInfo, member: Member, options: CallOptions): Promise<number | undefined>;
  end(): void;
}
