import { rmdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { createReplicaClient } from '../../app/index.ts';
import type { ResolvedReplica } from '../../config/index.ts';
import { encodeLtxFile, LTX_NO_CHECKSUM, toTxid } from '../../formats/ltx/index.ts';
import { errorMessage, isLitestreamError, LitestreamError } from '../../lib/errors.ts';
import { type LogAttributes, type Logger } from '../../telemetry/index.ts';
import {
  bytesSource,
  collect,
  type FileKey,
  type ReplicaClient,
  type ReplicaLocation,
} from '../../storage/index.ts';
import type { Io } from '../command.ts';
import { type Check, Checks } from './check.ts';

/** A level that no program lists: levels end with 9. */
const PROBE_LEVEL = 99;
const PROBE: FileKey = { level: PROBE_LEVEL, minTxid: toTxid(1), maxTxid: toTxid(1) };
const PROBE_MS_MAX = 15_000;
/** The probe's own time: what a listing reports instead is the store's clock. */
const PROBE_TIME_MS = 1_000_000_000_000;
const SKEW_MS_MAX = 60_000;

function probeBytes(): Uint8Array {
  const header = {
    flags: LTX_NO_CHECKSUM,
    pageSize: 512,
    commit: 1,
    minTxid: PROBE.minTxid,
    maxTxid: PROBE.maxTxid,
    timestampMs: PROBE_TIME_MS,
    preApplyChecksum: 0n,
    walOffset: 0,
    walSize: 0,
    walSalt1: 0,
    walSalt2: 0,
    nodeId: 0n,
  };
  return encodeLtxFile({ header, pages: [{ pgno: 1, data: new Uint8Array(512) }] });
}

/** What doing one thing to the replica came to. */
class Probe {
  readonly #client: ReplicaClient;
  readonly #checks: Checks;
  readonly #signal: AbortSignal;

  constructor(client: ReplicaClient, checks: Checks, signal: AbortSignal) {
    this.#client = client;
    this.#checks = checks;
    this.#signal = signal;
  }

  get #isFolder(): boolean {
    return this.#client.localPath !== undefined;
  }

  async #step(check: string, remedy: string, body: () => Promise<string>): Promise<boolean> {
    try {
      this.#checks.ok(check, await body());
      return true;
    } catch (error) {
      const isDenied = isLitestreamError(error, 'ERR_STORAGE_DENIED');
      // A folder knows no credentials.
      if (this.#isFolder && isDenied) this.#checks.fail(check, errorMessage(error), remedy);
      else this.#checks.failure(check, error, remedy);
      return false;
    }
  }

  async run(now: () => number): Promise<void> {
    const signal = this.#signal;
    const client = this.#client;
    const bytes = probeBytes();
    const source = bytesSource(bytes);
    const reach = 'check address, bucket and path, and the network';
    const listed = await this.#step('list', reach, async () => {
      for await (const _file of client.list(0, { signal })) return 'reachable, holds transactions';
      return 'reachable, no transactions yet';
    });
    if (!listed) return;
    const grant = this.#isFolder
      ? 'give the user that runs litestream the right to write to this folder, or choose another one'
      : 'give the credentials the right to write, read and delete objects below the path';
    const written = await this.#step('write', grant, async () => {
      await client.write(PROBE, source, { signal });
      return `${bytes.length} bytes`;
    });
    if (!written) return;
    await this.#step('read', grant, async () => {
      const found = await collect(client.read(PROBE, { signal }));
      if (Buffer.compare(found, bytes) === 0) return 'what was written';
      throw new LitestreamError(
        'ERR_STORAGE',
        'the store gives back other bytes than were written',
        {
          hint: 'look for a proxy or a gateway that changes objects',
        },
      );
    });
    await this.#clock(now);
    await this.#step('delete', grant, async () => {
      await client.delete([PROBE], { signal });
      return 'the probe is gone';
    });
  }

  /** The store's clock, where a listing tells it. */
  async #clock(now: () => number): Promise<void> {
    let stored: number | undefined;
    try {
      for await (const file of this.#client.list(PROBE_LEVEL, { signal: this.#signal })) {
        stored = file.createdAt;
      }
    } catch (error) {
      this.#checks.failure('clock', error);
      return;
    }
    if (stored === undefined || stored === PROBE_TIME_MS) return;
    const skew = stored - now();
    const detail = `${Math.round(Math.abs(skew) / 1000)} s apart from the store's`;
    if (Math.abs(skew) <= SKEW_MS_MAX) this.#checks.ok('clock', detail);
    else this.#checks.warn('clock', detail, 'set the clock of this machine, for example with NTP');
  }
}

/** Keeps what a client says while it tries again and again: a time-out alone would not tell why. */
class LastComplaint implements Logger {
  #error = '';
  #hint: string | undefined;

  log(_level: string, _message: string, { error, hint }: LogAttributes = {}): void {
    if (typeof error !== 'string') return;
    this.#error = `: ${error}`;
    this.#hint = typeof hint === 'string' ? hint : undefined;
  }

  enabled(): boolean {
    return true;
  }

  with(): Logger {
    return this;
  }

  get timeout(): LitestreamError {
    const text = `no answer in ${PROBE_MS_MAX / 1000} s${this.#error}`;
    const hint = this.#hint ?? 'check the endpoint, the network, the proxy and the firewall';
    return new LitestreamError('ERR_TIMEOUT', text, { hint });
  }
}

/** Removes the folders that the probe has made, as far as they are empty. */
async function tidy(client: ReplicaClient): Promise<void> {
  const path = client.localPath?.(PROBE);
  if (path === undefined) return;
  try {
    for (let folder = dirname(path), n = 0; n < 3; n++, folder = dirname(folder))
      await rmdir(folder);
  } catch {
    // Others use it.
  }
}

/** Without the lease: the probe replaces nobody's files. */
function withoutLease(location: ReplicaLocation): ReplicaLocation {
  return location.type === 's3' ? { ...location, lease: false } : location;
}

/**
 * Lists the replica, writes an object that no program looks at, reads it back and deletes it. Safe beside a running daemon.
 */
export async function checkReplica(
  replica: ResolvedReplica,
  databasePath: string,
  io: Io,
): Promise<Check[]> {
  const { clock, environment, fileSystem } = io;
  const checks = new Checks(`${databasePath} -> ${replica.name || replica.location.type}`);
  const stop = new AbortController();
  const logger = new LastComplaint();
  const timer = clock.timer(PROBE_MS_MAX, () => stop.abort(logger.timeout));
  let client: ReplicaClient | undefined;
  try {
    const ports = { clock, environment, fileSystem, logger };
    client = await createReplicaClient(withoutLease(replica.location), ports, databasePath);
    await new Probe(client, checks, stop.signal).run(() => clock.now());
    await tidy(client);
  } catch (error) {
    checks.failure('list', error, 'check the configuration of the replica');
  } finally {
    timer.cancel();
    await client?.close();
  }
  return checks.all;
}
