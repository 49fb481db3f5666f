import { it } from 'node:test';
import type { ReplicaClient } from '../../storage/index.ts';

/** One remote: a folder, a bucket, a server. */
export interface SuiteRemote {
  /** A client for the replica at `path`, a relative path without a slash at either end. */
  open(path: string): Promise<ReplicaClient>;
  /** Stores an object beside the LTX files of a level, as another program would. */
  putForeign?(path: string, level: number, name: string, bytes: Uint8Array): Promise<void>;
  /** Names of all stored objects, temporary ones included. Lets the suite look for what failed writes leave behind. */
  keys?(): Promise<readonly string[]>;
  /** Releases the remote and what it holds. */
  dispose(): Promise<void>;
}

export type SuiteFactory = () => Promise<SuiteRemote>;

/** What a provider cannot help. Everything defaults to the strict case. */
export interface SuiteCapabilities {
  /** Precision of creation times. Default `ms`. */
  readonly times?: 'ms' | 's' | undefined;
  /** True if `deleteAll` empties the whole remote, whatever the path. */
  readonly deletesWholeRemote?: boolean | undefined;
  /** True if a reader may find nothing for a moment while a file is replaced. Replicas replace none, as a rule. */
  readonly replacesWithGap?: boolean | undefined;
  /** Bytes of the large file. Default 9 MiB. */
  readonly largeFileSize?: number | undefined;
  /** Number of files in the listing and deleting of many. Default 1001. */
  readonly manyFiles?: number | undefined;
  /** Why the suite cannot run here. */
  readonly unavailable?: string | undefined;
}

export interface Suite {
  readonly factory: SuiteFactory;
  readonly capabilities: SuiteCapabilities;
}

/** What one test works with: a remote and a client for the replica `p` in it. */
export interface Bench {
  readonly remote: SuiteRemote;
  readonly client: ReplicaClient;
}

/** Registers one test with a remote of its own. */
export function check(suite: Suite, name: string, body: (bench: Bench) => Promise<void>): void {
  void it(name, async () => {
    const remote = await suite.factory();
    try {
      const client = await remote.open('p');
      try {
        await body({ remote, client });
      } finally {
        await client.close();
      }
    } finally {
      await remote.dispose();
    }
  });
}
