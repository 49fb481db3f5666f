import type { DatabaseKeys, FileKeys, ReadReplicaKeys, ReplicaKeys, SnapshotKeys } from './keys.ts';
import type { DescriptionsOf } from './description-types.ts';
import { settingDescriptions } from './setting-descriptions.ts';

const snapshotKeys: DescriptionsOf<SnapshotKeys> = {
  interval: 'Time between full snapshots. Default 24h.',
  retention: 'How long snapshots, and with them the history behind them, are kept. Default 24h.',
};

const replicaKeys: DescriptionsOf<ReplicaKeys> = {
  ...settingDescriptions,
  type: 'Kind of storage, where the URL does not say it. Default file.',
  url: 'Where the replica is: file:///path, s3://bucket/path, gs://, abs://account@container/path, sftp://, webdavs://, nats://, oss://.',
  path: 'Folder, or prefix in the bucket. Not together with url.',
  name: 'Name by which -replica chooses this replica. Default: its type.',
  retention: 'How long this replica keeps its snapshots. Default: snapshot.retention.',
  'snapshot-interval': 'Time between snapshots of this replica. Default: snapshot.interval.',
};

const readReplicaKeys: DescriptionsOf<ReadReplicaKeys> = {
  name: 'Name of the copy, unique in the file: letters, digits, ".", "_" and "-".',
  type: 'Kind of copy: sqlite.',
  path: 'Database file of the copy.',
  'follow-interval': 'Time between looks at what is new. Default 1s.',
  'lag-alert': 'Warn when the copy is behind for longer. Default: that of the database.',
  promote: 'Who makes the copy a primary: manual, or auto where a lease fences the old one.',
};

const databaseKeys: DescriptionsOf<DatabaseKeys> = {
  ...settingDescriptions,
  path: 'Database file. Either path or dir.',
  dir: 'Folder with databases. Either path or dir.',
  pattern: 'With dir: names of the databases, such as "*.db".',
  recursive: 'With dir: also look into the folders below. Default false.',
  watch: 'With dir: add databases that appear and let go of those that vanish. Default false.',
  snapshot: {
    about: 'Snapshots, for the whole file: databases that give these keys must agree.',
    keys: snapshotKeys,
  },
  'meta-path': 'Folder of local state. Default: .NAME-litestream beside the database.',
  'meta-dir': 'With dir: folder below which the state of each database lies.',
  'monitor-interval':
    'Time between looks at the WAL, beside the notification of the system. Default 1s; 0 or less: only on demand.',
  'checkpoint-interval': 'Time between checkpoints. Default 1m; 0 or less: none by time.',
  'busy-timeout': 'How long to wait for locks of other connections. Default 1s.',
  'min-checkpoint-page-count': 'Pages in the WAL from which on it is checkpointed. Default 1000.',
  'min-wal-checkpoint': 'The same as min-checkpoint-page-count.',
  'truncate-page-n':
    'Pages in the WAL from which on it is truncated. Default and 0: 121359; negative: never.',
  'max-sync-wal-bytes': 'Bytes of the WAL per file of the replica. Default 67108864; 0: no limit.',
  'restore-if-db-not-exists': 'Restore a missing database before it is replicated. Default false.',
  'lag-alert': 'Warn when a replica is behind for longer. Default: that of the file.',
  replica: { about: 'The replica of the database.', keys: replicaKeys },
  replicas: {
    about: 'Several replicas; each is a full copy, the first is the default of restore.',
    keys: replicaKeys,
  },
  'read-replicas': {
    about: 'Local copies for reading. Checked, and not kept up to date by this version.',
    keys: readReplicaKeys,
  },
};

const socketKeys: DescriptionsOf<NonNullable<FileKeys['socket']>> = {
  enabled: 'Serve the control socket. Default false.',
  path: 'Path of the control socket. Default /var/run/litestream.sock.',
  permissions: 'Permissions of the control socket. Default 0600.',
};

const loggingKeys: DescriptionsOf<NonNullable<FileKeys['logging']>> = {
  level: 'trace, debug, info, warn or error. Default info; LOG_LEVEL wins.',
  type: 'text, json or pretty. Default text.',
  stderr: 'Write the log to standard error. Default false.',
  source: 'Add file and line of the program to each line. Default false.',
};

/** What an editor shows for every key of the configuration file. */
export const fileDescriptions: DescriptionsOf<FileKeys> = {
  ...settingDescriptions,
  addr: 'Address of metrics, health and the status page, such as ":9090". Default: none.',
  'mcp-addr': 'Address of the MCP server for assistants. Default: none.',
  socket: { about: 'Control socket, for litestream list, sync, stop …', keys: socketKeys },
  levels: {
    about: 'Compaction levels 1, 2 … (at most 8). Default: 30s, 5m and 1h.',
    keys: { interval: 'Time between compactions into this level.' },
  },
  snapshot: { about: 'Full snapshots and how long history is kept.', keys: snapshotKeys },
  validation: {
    about: 'Checks that the files of each level follow each other.',
    keys: { interval: 'Time between checks. Default: none.' },
  },
  'l0-retention':
    'How long files that have been compacted stay in level 0. Default 5m; 0: for ever.',
  'l0-retention-check-interval': 'Time between looks for such files. Default 15s.',
  'verify-compaction': 'Check each level after a compaction. Default false.',
  retention: {
    about: 'Deletion of what has expired.',
    keys: {
      enabled: 'False: never delete in the replica; its own rules must do it. Default true.',
    },
  },
  'heartbeat-url': 'URL that is asked for as long as every database is backed up.',
  'heartbeat-interval': 'Time between heartbeats, at least 1m. Default 5m.',
  'watchdog-threshold':
    'A replica that is behind for longer is unhealthy. Default: ten sync intervals, at least 1m; 0: off.',
  'lag-alert': 'Warn when a replica is behind for longer. Default 0: off.',
  'shutdown-sync-timeout':
    'How long the last upload of a database may take at the end. Default 30s; 0: one attempt.',
  'shutdown-sync-interval': 'Time between its attempts. Default 500ms.',
  exec: 'Command that runs while databases are replicated; its end ends the program.',
  logging: { about: 'The log.', keys: loggingKeys },
  dbs: { about: 'The databases.', keys: databaseKeys },
};
