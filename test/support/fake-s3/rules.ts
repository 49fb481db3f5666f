import type { Secrets } from './sigv4.ts';

export interface FakeObject {
  readonly bytes: Buffer;
  /** Headers of the upload that come back: metadata, storage class, encryption. */
  readonly headers: Readonly<Record<string, string>>;
  readonly etag: string;
  /** Milliseconds since the Unix epoch. */
  readonly modifiedAt: number;
}

export interface FakeUpload {
  readonly key: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly parts: Map<number, Buffer>;
  initiatedAt: number;
}

/** One request as it arrived. */
export interface FakeRequest {
  readonly method: string;
  /** Path and query, byte for byte. */
  readonly target: string;
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
  /** Undefined if the request concerns the bucket; decoded, nothing cleaned. */
  readonly key: string | undefined;
  /** The region in the signature. */
  readonly region: string;
  status: number;
}

export interface FakeFault {
  readonly status: number;
  readonly code?: string;
  readonly message?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** In place of an error document. */
  readonly body?: string;
}

/** How this store differs from a good one. All of it may change at any time. */
export interface FakeRules {
  bucket: string;
  secrets: Secrets;
  /** Any, if undefined. */
  region?: string;
  /** In front of the bucket: `/storage/v1/s3`. */
  pathPrefix: string;
  /** Hosts, without port, that stand for the bucket. */
  bucketHosts: string[];
  /** Keys in a page. */
  pageSize: number;
  /** The last name first, and pages from the end. */
  reverse: boolean;
  /** Says that it deleted, and did not. */
  keepsDeleted: 'never' | 'in batches' | 'always';
  /** Codes for keys that it refuses to delete. */
  undeletable: Map<string, string>;
  contentMd5: 'accepted' | 'required' | 'refused';
  conditions: 'honoured' | 'ignored' | 'refused';
  batches: boolean;
  partSizeMin: number;
  partsMax: number;
  /** Parts in flight together; more are answered with 500. */
  parallelPartsMax: number;
  /** All parts but the last must be equal. */
  equalParts: boolean;
  customerKey?: string;
  /** Milliseconds by which its clock is ahead. */
  clockOffsetMs: number;
  fault?: ((request: FakeRequest) => FaultOf | Promise<FaultOf>) | undefined;
}

/** Undefined: no fault. */
export type FaultOf = FakeFault | 'reset' | undefined;
