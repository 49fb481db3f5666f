/** Services that need more than the protocol says. */
export type S3Service =
  | 'aws'
  | 'tigris'
  | 'r2'
  | 'backblaze'
  | 'filebase'
  | 'supabase'
  | 'digitalocean'
  | 'scaleway'
  | 'hetzner'
  | 'gcs'
  | 'minio'
  | 'other';

/** What is done differently for a service where the user has not decided. Spec: backends 3.5.6 and 8. */
export interface S3Quirks {
  readonly service: S3Service;
  readonly pathStyle: boolean;
  /** Content-MD5 on batch deletes: OCI insists on it, Tigris refuses it. */
  readonly contentMd5: boolean;
  /** Parts of one upload in flight; undefined = the usual number. */
  readonly concurrency: number | undefined;
  /** Sent, and signed, with every request. */
  readonly headers: Readonly<Record<string, string>>;
  /** What `If-None-Match: *` on an upload does: `unknown` is tried out once. */
  readonly conditionalWrites: 'honoured' | 'unsupported' | 'unknown';
  /** Batch deletes of some stores report success and leave the objects. */
  readonly checksDeletes: boolean;
}

const USUAL: S3Quirks = {
  service: 'other',
  pathStyle: false,
  contentMd5: true,
  concurrency: undefined,
  headers: {},
  conditionalWrites: 'unknown',
  checksDeletes: true,
};

const QUIRKS: Readonly<Record<S3Service, Partial<S3Quirks>>> = {
  aws: { conditionalWrites: 'honoured', checksDeletes: false },
  backblaze: { pathStyle: true },
  digitalocean: {},
  filebase: { pathStyle: true },
  // Preconditions of the XML interface are x-goog headers, which cannot be mixed with x-amz ones.
  gcs: { conditionalWrites: 'unsupported' },
  hetzner: {},
  minio: { pathStyle: true },
  other: {},
  r2: { concurrency: 2, conditionalWrites: 'honoured' },
  scaleway: {},
  supabase: { pathStyle: true },
  tigris: {
    contentMd5: false,
    headers: { 'x-tigris-consistent': 'true' },
    conditionalWrites: 'honoured',
  },
};

const SUFFIXES: readonly (readonly [string, S3Service])[] = [
  ['.r2.cloudflarestorage.com', 'r2'],
  ['.backblazeb2.com', 'backblaze'],
  ['.supabase.co', 'supabase'],
  ['.digitaloceanspaces.com', 'digitalocean'],
  ['.scw.cloud', 'scaleway'],
  ['.your-objectstorage.com', 'hetzner'],
];

const NAMES: Readonly<Record<string, S3Service>> = {
  'fly.storage.tigris.dev': 'tigris',
  't3.storage.dev': 'tigris',
  's3.filebase.com': 'filebase',
};

/** Of these, an address with a port is not taken for MinIO. */
const KNOWN_CLOUDS = [
  '.amazonaws.com',
  '.digitaloceanspaces.com',
  '.backblazeb2.com',
  '.filebase.com',
  '.scw.cloud',
  '.r2.cloudflarestorage.com',
  'tigris.dev',
  't3.storage.dev',
  '.supabase.co',
];

/** Google's S3-compatible hosts, and no look-alikes. */
function isGoogle(host: string): boolean {
  const labels = host.replace(/:\d*$/, '').replace(/\.$/, '').split('.');
  if (labels.length < 3 || labels.includes('')) return false;
  if (labels.slice(-2).join('.') !== 'googleapis.com') return false;
  const namesStorage = (label: string | undefined): boolean =>
    label?.split('-').includes('storage') === true;
  if (labels.length > 3 && namesStorage(labels[1])) return false;
  return namesStorage(labels[0]);
}

/** The service behind an endpoint; an empty endpoint is AWS. Spec: backends 3.5.6. */
export function detectService(endpoint: string): S3Service {
  if (endpoint === '') return 'aws';
  const [authority = ''] = endpoint
    .trim()
    .toLowerCase()
    .replace(/^https?:\/\//, '')
    .split(/[/?#]/, 1);
  if (authority.includes('@')) return 'other';
  const named = NAMES[authority];
  if (named !== undefined) return named;
  for (const [suffix, service] of SUFFIXES) if (authority.endsWith(suffix)) return service;
  if (isGoogle(authority)) return 'gcs';
  if (authority.includes(':') && !KNOWN_CLOUDS.some((cloud) => authority.includes(cloud))) {
    return 'minio';
  }
  return 'other';
}

/** What to do differently at an endpoint. */
export function quirksOf(endpoint: string): S3Quirks {
  const service = detectService(endpoint);
  return { ...USUAL, service, ...QUIRKS[service] };
}
