/** Where a replica lives, in plain values. Unset texts are empty. */
export type ReplicaLocation =
  | FileLocation
  | S3Location
  | GsLocation
  | AbsLocation
  | OssLocation
  | SftpLocation
  | WebdavLocation
  | NatsLocation;

/** A folder. */
export interface FileLocation {
  readonly type: 'file';
  /** Not empty. A relative path is taken from the working directory. */
  readonly path: string;
}

/** Everything an S3 client needs. Unset texts are empty; unset choices are undefined. Spec: config 6.3. */
export interface S3Location {
  readonly type: 's3';
  readonly bucket: string;
  /** Prefix of all keys; `.` and empty are different. */
  readonly path: string;
  readonly region: string;
  readonly endpoint: string;
  readonly forcePathStyle: boolean | undefined;
  readonly skipVerify: boolean;
  readonly signPayload: boolean | undefined;
  readonly requireContentMd5: boolean | undefined;
  readonly storageClass: string;
  readonly partSizeBytes: number | undefined;
  readonly concurrency: number | undefined;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sseCustomerAlgorithm: string;
  readonly sseCustomerKey: string;
  readonly sseCustomerKeyPath: string;
  readonly sseKmsKeyId: string;
  /** Write only while holding the lease in `lock.json`. */
  readonly lease: boolean;
}

/** Spec: config 6.4. */
export interface GsLocation {
  readonly type: 'gs';
  readonly bucket: string;
  readonly path: string;
}

/** Spec: config 6.5. */
export interface AbsLocation {
  readonly type: 'abs';
  readonly bucket: string;
  readonly path: string;
  readonly endpoint: string;
  readonly accountName: string;
  readonly accountKey: string;
  readonly sasToken: string;
  /** Account, key or SAS token and endpoint in one. */
  readonly connectionString?: string | undefined;
}

/** Spec: config 6.9. */
export interface OssLocation {
  readonly type: 'oss';
  readonly bucket: string;
  readonly path: string;
  readonly region: string;
  readonly endpoint: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly partSizeBytes: number | undefined;
  readonly concurrency: number | undefined;
}

/** Spec: config 6.6. */
export interface SftpLocation {
  readonly type: 'sftp';
  readonly host: string;
  readonly user: string;
  readonly password: string;
  readonly keyPath: string;
  /** Opens an encrypted private key. */
  readonly keyPassphrase: string;
  /** Lines as in authorized_keys; any of these keys is accepted. */
  readonly hostKey: string;
  readonly path: string;
  readonly concurrentWrites: boolean;
}

/** Spec: config 6.7. */
export interface WebdavLocation {
  readonly type: 'webdav';
  readonly url: string;
  readonly username: string;
  readonly password: string;
  readonly path: string;
}

/** Spec: config 6.8. */
export interface NatsLocation {
  readonly type: 'nats';
  readonly url: string;
  readonly bucket: string;
  readonly jwt: string;
  readonly seed: string;
  readonly creds: string;
  readonly nkey: string;
  readonly username: string;
  readonly password: string;
  readonly token: string;
  readonly tls: boolean;
  readonly rootCas: readonly string[];
  readonly clientCert: string;
  readonly clientKey: string;
  readonly maxReconnects: number;
  readonly reconnectWaitMs: number;
  readonly timeoutMs: number;
}
