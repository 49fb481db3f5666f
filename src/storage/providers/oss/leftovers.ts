import { matchFileName } from '../../../formats/ltx/index.ts';
import { type Logger } from '../../../telemetry/index.ts';
import { type OpenUpload, readOpenUploads } from './answers.ts';
import type { OssApi } from './api.ts';

/** No upload of ours takes that long: this one's program is gone. */
const AGE_MS_MIN = 24 * 3_600_000;

/**
 * Ends uploads in parts that killed programs have left below a replica's path. The store charges for them and shows them in
 * no listing. Done once, behind the first upload in parts; failures are nobody's concern.
 */
export class Leftovers {
  readonly #api: OssApi;
  readonly #path: string;
  readonly #logger: Logger;
  #done = false;

  constructor(api: OssApi, path: string, logger: Logger) {
    this.#api = api;
    this.#path = path;
    this.#logger = logger;
  }

  async sweep(signal?: AbortSignal): Promise<void> {
    if (this.#done) return;
    this.#done = true;
    try {
      const query = { uploads: '', prefix: `${this.#path}/`, 'encoding-type': 'url' };
      const uploads = await this.#api.call(
        { method: 'GET', query, signal, attempts: 1, what: 'oss: list uploads' },
        async (response) => readOpenUploads(await response.text()),
      );
      for (const upload of uploads) if (this.#isLeftover(upload)) await this.#end(upload, signal);
    } catch (error) {
      const cause = error instanceof Error ? error : undefined;
      this.#logger.log('debug', 'cannot end leftover uploads', { error: cause });
    }
  }

  #isLeftover({ key, initiatedAt }: OpenUpload): boolean {
    if (initiatedAt === undefined || initiatedAt > this.#api.now() - AGE_MS_MIN) return false;
    const name = key.slice(this.#path.length + 1);
    return /^[0-9a-f]{4}\//.test(name) && matchFileName(name.slice(5)) !== undefined;
  }

  async #end({ key, uploadId }: OpenUpload, signal: AbortSignal | undefined): Promise<void> {
    const what = `oss: end upload to ${key}`;
    const query = { uploadId };
    await this.#api.call(
      { method: 'DELETE', key, query, signal, attempts: 1, what, accept: [200, 204, 404] },
      (response) => response.discard(),
    );
    this.#logger.log('debug', 'ended a leftover upload', { key });
  }
}
