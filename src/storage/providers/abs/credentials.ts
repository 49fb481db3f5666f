import type {
  AnonymousCredential,
  ContainerClient,
  StorageSharedKeyCredential,
} from '@azure/storage-blob';
import type { TokenCredential } from '@azure/identity';
import type * as StorageBlob from '@azure/storage-blob';
import { errorMessage, LitestreamError } from '../../../lib/errors.ts';
import { type Logger, noopLogger } from '../../../telemetry/index.ts';
import type { AbsLocation } from '../../locations.ts';
import { optionalPackage } from '../../optional-package.ts';

type StorageSdk = typeof StorageBlob;
type Credential = AnonymousCredential | StorageSharedKeyCredential | TokenCredential;

/** What the SDK's own retries and time-outs are set to: none, see {@link Attempts}. */
const PIPELINE = {
  retryOptions: { maxTries: 1 },
  userAgentOptions: { userAgentPrefix: 'litestream' },
} as const;

export interface CredentialPorts {
  readonly environment?: Readonly<Record<string, string | undefined>> | undefined;
  readonly logger?: Logger | undefined;
}

/** Where the container is, without anything secret. */
export interface ContainerAddress {
  /** Without a slash at the end. */
  readonly endpoint: string;
  /** `<endpoint>/<container>` */
  readonly url: string;
}

/** @throws LitestreamError `ERR_STORAGE_URL` if container or account are missing, or the endpoint is no URL. */
export function containerAddress({ bucket, endpoint, accountName }: AbsLocation): ContainerAddress {
  if (bucket === '')
    throw new LitestreamError('ERR_STORAGE_URL', 'abs: container name is required');
  if (endpoint === '' && accountName === '') {
    throw new LitestreamError(
      'ERR_STORAGE_URL',
      'abs: account name is required when endpoint is not specified',
      { hint: 'set account-name, or write abs://ACCOUNT@CONTAINER/PATH' },
    );
  }
  const given = endpoint === '' ? `https://${accountName}.blob.core.windows.net` : endpoint;
  const [withoutQuery = ''] = given.split(/[?#]/);
  const base = withoutQuery.replace(/\/+$/, '');
  const absolute = base.includes('://') ? base : `https://${base}`;
  if (!URL.canParse(absolute) || !/^https?:/i.test(absolute)) {
    const details = { endpoint: absolute };
    throw new LitestreamError('ERR_STORAGE_URL', `abs: endpoint is no URL: ${absolute}`, {
      details,
    });
  }
  return { endpoint: absolute, url: `${absolute}/${encodeURIComponent(bucket)}` };
}

function loadStorage(): Promise<StorageSdk> {
  return optionalPackage(
    () => import('@azure/storage-blob'),
    'abs replicas',
    '@azure/storage-blob',
  );
}

/** Environment, workload identity, managed identity, Azure CLI and the rest, in the library's order. */
async function defaultChain(logger: Logger): Promise<TokenCredential> {
  logger.log(
    'debug',
    'using default credential chain (managed identity, Azure CLI, environment variables, etc.)',
  );
  const { DefaultAzureCredential } = await optionalPackage(
    () => import('@azure/identity'),
    'abs replicas without account-key and sas-token',
    '@azure/identity',
  );
  try {
    return new DefaultAzureCredential();
  } catch (error) {
    throw new LitestreamError(
      'ERR_STORAGE_DENIED',
      `abs: cannot create default azure credential: ${errorMessage(error)}`,
    );
  }
}

/** A key is base64; anything else would be taken apart silently and fail as a wrong signature. */
function checkKey(key: string): void {
  if (/^[A-Za-z0-9+/]+={0,2}$/.test(key) && key.length % 4 === 0) return;
  throw new LitestreamError(
    'ERR_STORAGE_URL',
    'abs: cannot create shared key credential: the account key is not base64',
    { hint: 'copy key1 or key2 of the storage account as a whole' },
  );
}

/**
 * The client of the container: SAS token, then shared key, then the default chain. Nothing is contacted. Spec: backends 5.4.
 *
 * @throws LitestreamError `ERR_STORAGE_URL` for settings that cannot work, or a package that is not installed.
 */
export async function containerClient(
  location: AbsLocation,
  { environment = {}, logger = noopLogger }: CredentialPorts,
): Promise<ContainerClient> {
  const { url } = containerAddress(location);
  const { accountName } = location;
  const sas = (location.sasToken || environment['LITESTREAM_AZURE_SAS_TOKEN'] || '').replace(
    /^\?/,
    '',
  );
  const key = location.accountKey || environment['LITESTREAM_AZURE_ACCOUNT_KEY'] || '';
  const sdk = await loadStorage();
  const open = (address: string, credential: Credential): ContainerClient =>
    new sdk.ContainerClient(address, sdk.newPipeline(credential, PIPELINE));
  if (sas !== '') {
    if (key !== '') {
      logger.log('warn', 'both SAS token and account key configured, using SAS token');
    }
    logger.log('debug', 'using SAS token authentication');
    return open(`${url}?${sas}`, new sdk.AnonymousCredential());
  }
  if (key !== '' && accountName !== '') {
    checkKey(key);
    logger.log('debug', 'using shared key authentication');
    return open(url, new sdk.StorageSharedKeyCredential(accountName, key));
  }
  return open(url, await defaultChain(logger));
}
