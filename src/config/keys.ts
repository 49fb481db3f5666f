import type { SchemaOf } from './decode.ts';

/** Settings of a replica that may also stand on its database or at the top of the file. Spec: config 6.2. */
export interface ReplicaSettingKeys {
  readonly 'sync-interval'?: number;
  readonly 'validation-interval'?: number;
  readonly 'max-sync-ltx-files'?: number;
  readonly 'auto-recover'?: boolean;
  readonly age?: {
    readonly identities?: readonly string[];
    readonly recipients?: readonly string[];
  };
  readonly 'access-key-id'?: string;
  readonly 'secret-access-key'?: string;
  readonly region?: string;
  readonly bucket?: string;
  readonly endpoint?: string;
  readonly 'storage-class'?: string;
  readonly 'force-path-style'?: boolean;
  readonly 'sign-payload'?: boolean;
  readonly 'require-content-md5'?: boolean;
  readonly 'skip-verify'?: boolean;
  readonly 'sse-customer-algorithm'?: string;
  readonly 'sse-customer-key'?: string;
  readonly 'sse-customer-key-path'?: string;
  readonly 'sse-kms-key-id'?: string;
  readonly lease?: boolean;
  readonly 'part-size'?: number;
  readonly concurrency?: number;
  readonly 'account-name'?: string;
  readonly 'account-key'?: string;
  readonly 'sas-token'?: string;
  readonly 'connection-string'?: string;
  readonly host?: string;
  readonly user?: string;
  readonly password?: string;
  readonly 'key-path'?: string;
  readonly 'key-passphrase'?: string;
  readonly 'concurrent-writes'?: boolean;
  readonly 'host-key'?: string;
  readonly 'webdav-url'?: string;
  readonly 'webdav-username'?: string;
  readonly 'webdav-password'?: string;
  readonly jwt?: string;
  readonly seed?: string;
  readonly creds?: string;
  readonly nkey?: string;
  readonly username?: string;
  readonly token?: string;
  readonly 'client-cert'?: string;
  readonly 'client-key'?: string;
  readonly tls?: boolean;
  readonly 'root-cas'?: readonly string[];
  readonly 'max-reconnects'?: number;
  readonly 'reconnect-wait'?: number;
  readonly timeout?: number;
}

/** One `replica` block. Spec: config 6.1. */
export interface ReplicaKeys extends ReplicaSettingKeys {
  readonly type?: string;
  readonly url?: string;
  readonly path?: string;
  readonly name?: string;
  /** Milliseconds; of this replica alone. Spec: config 11.3. */
  readonly retention?: number;
  /** Milliseconds; of this replica alone. Spec: config 11.3. */
  readonly 'snapshot-interval'?: number;
}

/** One `read-replicas` entry. Durations are milliseconds. Spec: config 11.4. */
export interface ReadReplicaKeys {
  readonly name?: string;
  readonly type?: string;
  readonly path?: string;
  readonly 'follow-interval'?: number;
  readonly 'lag-alert'?: number;
  readonly promote?: string;
}

/** A `snapshot` block, in milliseconds. */
export interface SnapshotKeys {
  readonly interval?: number;
  readonly retention?: number;
}

/** One `dbs` entry. Durations are milliseconds. Spec: config 5.1. */
export interface DatabaseKeys extends ReplicaSettingKeys {
  readonly path?: string;
  readonly dir?: string;
  readonly pattern?: string;
  readonly recursive?: boolean;
  readonly watch?: boolean;
  readonly snapshot?: SnapshotKeys;
  readonly 'meta-path'?: string;
  readonly 'meta-dir'?: string;
  readonly 'monitor-interval'?: number;
  readonly 'checkpoint-interval'?: number;
  readonly 'busy-timeout'?: number;
  readonly 'min-checkpoint-page-count'?: number;
  readonly 'min-wal-checkpoint'?: number;
  readonly 'truncate-page-n'?: number;
  readonly 'max-sync-wal-bytes'?: number;
  readonly 'restore-if-db-not-exists'?: boolean;
  readonly 'lag-alert'?: number;
  readonly replica?: ReplicaKeys;
  readonly replicas?: readonly (ReplicaKeys | null)[];
  readonly 'read-replicas'?: readonly (ReadReplicaKeys | null)[];
}

/** The whole file, as written. Spec: config 4. */
export interface FileKeys extends ReplicaSettingKeys {
  readonly addr?: string;
  readonly 'mcp-addr'?: string;
  readonly socket?: {
    readonly enabled?: boolean;
    readonly path?: string;
    readonly permissions?: number;
  };
  readonly levels?: readonly ({ readonly interval?: number } | null)[];
  readonly snapshot?: SnapshotKeys;
  readonly validation?: { readonly interval?: number };
  readonly 'l0-retention'?: number;
  readonly 'l0-retention-check-interval'?: number;
  readonly 'verify-compaction'?: boolean;
  readonly retention?: { readonly enabled?: boolean };
  readonly 'heartbeat-url'?: string;
  readonly 'heartbeat-interval'?: number;
  readonly 'watchdog-threshold'?: number;
  readonly 'lag-alert'?: number;
  readonly 'shutdown-sync-timeout'?: number;
  readonly 'shutdown-sync-interval'?: number;
  readonly exec?: string;
  readonly logging?: {
    readonly level?: string;
    readonly type?: string;
    readonly stderr?: boolean;
    readonly source?: boolean;
  };
  readonly dbs?: readonly (DatabaseKeys | null)[];
}

/** Settings that a replica takes from its database, and that from the top of the file. */
export const replicaSettingSchema: SchemaOf<ReplicaSettingKeys> = {
  'sync-interval': 'duration',
  'validation-interval': 'duration',
  'max-sync-ltx-files': 'int',
  'auto-recover': 'bool',
  age: { map: { identities: 'strings', recipients: 'strings' } },
  'access-key-id': 'string',
  'secret-access-key': 'string',
  region: 'string',
  bucket: 'string',
  endpoint: 'string',
  'storage-class': 'string',
  'force-path-style': 'bool',
  'sign-payload': 'bool',
  'require-content-md5': 'bool',
  'skip-verify': 'bool',
  'sse-customer-algorithm': 'string',
  'sse-customer-key': 'string',
  'sse-customer-key-path': 'string',
  'sse-kms-key-id': 'string',
  lease: 'bool',
  'part-size': 'size',
  concurrency: 'int',
  'account-name': 'string',
  'account-key': 'string',
  'sas-token': 'string',
  'connection-string': 'string',
  host: 'string',
  user: 'string',
  password: 'string',
  'key-path': 'string',
  'key-passphrase': 'string',
  'concurrent-writes': 'bool',
  'host-key': 'string',
  'webdav-url': 'string',
  'webdav-username': 'string',
  'webdav-password': 'string',
  jwt: 'string',
  seed: 'string',
  creds: 'string',
  nkey: 'string',
  username: 'string',
  token: 'string',
  'client-cert': 'string',
  'client-key': 'string',
  tls: 'bool',
  'root-cas': 'strings',
  'max-reconnects': 'int',
  'reconnect-wait': 'duration',
  timeout: 'duration',
};

const replicaSchema: SchemaOf<ReplicaKeys> = {
  ...replicaSettingSchema,
  type: 'string',
  url: 'string',
  path: 'string',
  name: 'string',
  retention: 'duration',
  'snapshot-interval': 'duration',
};

const readReplicaSchema: SchemaOf<ReadReplicaKeys> = {
  name: 'string',
  type: 'string',
  path: 'string',
  'follow-interval': 'duration',
  'lag-alert': 'duration',
  promote: 'string',
};

const snapshotSchema: SchemaOf<SnapshotKeys> = {
  interval: 'duration',
  retention: 'duration',
};

const databaseSchema: SchemaOf<DatabaseKeys> = {
  ...replicaSettingSchema,
  path: 'string',
  dir: 'string',
  pattern: 'string',
  recursive: 'bool',
  watch: 'bool',
  snapshot: { map: snapshotSchema },
  'meta-path': 'string',
  'meta-dir': 'string',
  'monitor-interval': 'duration',
  'checkpoint-interval': 'duration',
  'busy-timeout': 'duration',
  'min-checkpoint-page-count': 'int',
  'min-wal-checkpoint': 'int',
  'truncate-page-n': 'int',
  'max-sync-wal-bytes': 'int64',
  'restore-if-db-not-exists': 'bool',
  'lag-alert': 'duration',
  replica: { map: replicaSchema },
  replicas: { list: replicaSchema },
  'read-replicas': { list: readReplicaSchema },
};

/** The schema of the whole file. */
export const fileSchema: SchemaOf<FileKeys> = {
  ...replicaSettingSchema,
  addr: 'string',
  'mcp-addr': 'string',
  socket: { map: { enabled: 'bool', path: 'string', permissions: 'uint32' } },
  levels: { list: { interval: 'duration' } },
  snapshot: { map: snapshotSchema },
  validation: { map: { interval: 'duration' } },
  'l0-retention': 'duration',
  'l0-retention-check-interval': 'duration',
  'verify-compaction': 'bool',
  retention: { map: { enabled: 'bool' } },
  'heartbeat-url': 'string',
  'heartbeat-interval': 'duration',
  'watchdog-threshold': 'duration',
  'lag-alert': 'duration',
  'shutdown-sync-timeout': 'duration',
  'shutdown-sync-interval': 'duration',
  exec: 'string',
  logging: { map: { level: 'string', type: 'string', stderr: 'bool', source: 'bool' } },
  dbs: { list: databaseSchema },
};
