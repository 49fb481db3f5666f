import { LitestreamError } from '../../../lib/errors.ts';
import type { AbsLocation } from '../../locations.ts';

const VARIABLE = 'AZURE_STORAGE_CONNECTION_STRING';
const HINT = 'copy the connection string of the storage account as a whole';

/** What Azure's emulator listens on, and its published account. */
const DEVELOPMENT =
  'DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;' +
  'AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;' +
  'BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1';

/** The `Name=value` pairs; names in lower case. Never part of a message: the key is among them. */
function pairs(text: string): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const part of text.split(';')) {
    if (part.trim() === '') continue;
    const at = part.indexOf('=');
    if (at <= 0) throw invalid('a part of it is not NAME=VALUE');
    found.set(part.slice(0, at).trim().toLowerCase(), part.slice(at + 1).trim());
  }
  if (found.get('usedevelopmentstorage')?.toLowerCase() === 'true') return pairs(DEVELOPMENT);
  return found;
}

function invalid(why: string): LitestreamError {
  return new LitestreamError('ERR_STORAGE_URL', `abs: invalid connection string: ${why}`, {
    hint: HINT,
  });
}

/** The string that applies: the setting's, else the variable's if there are no other credentials. */
function applicable(
  { accountKey, connectionString = '', sasToken }: AbsLocation,
  environment: Readonly<Record<string, string | undefined>>,
): string {
  if (connectionString !== '') return connectionString;
  const { LITESTREAM_AZURE_ACCOUNT_KEY: key = '', LITESTREAM_AZURE_SAS_TOKEN: sas = '' } =
    environment;
  return [accountKey, sasToken, key, sas].some((text) => text !== '')
    ? ''
    : (environment[VARIABLE] ?? '');
}

/** Where the blobs of the account are; empty if that cannot be told. */
function endpointOf(found: ReadonlyMap<string, string>): string {
  const given = found.get('blobendpoint') ?? '';
  const account = found.get('accountname') ?? '';
  if (given !== '' || account === '') return given;
  const suffix = found.get('endpointsuffix') ?? 'core.windows.net';
  return `${found.get('defaultendpointsprotocol') ?? 'https'}://${account}.blob.${suffix}`;
}

/**
 * Puts account, key, SAS token and endpoint of a connection string (`DefaultEndpointsProtocol=https;AccountName=…;AccountKey=…`) where
 * the location says nothing else: that of the setting, else `AZURE_STORAGE_CONNECTION_STRING` if there are no other credentials
 * and it is for this account.
 *
 * @throws LitestreamError `ERR_STORAGE_URL` if it makes no sense.
 */
export function withConnectionString(
  location: AbsLocation,
  environment: Readonly<Record<string, string | undefined>>,
): AbsLocation {
  const text = applicable(location, environment);
  if (text === '') return location;
  const { accountKey, accountName, endpoint, sasToken } = location;
  const found = pairs(text);
  const account = found.get('accountname') ?? '';
  if (accountName !== '' && account !== '' && account !== accountName) {
    if (text !== location.connectionString) return location;
    throw invalid(`it is for account ${account}, the replica is in account ${accountName}`);
  }
  const place = endpoint === '' ? endpointOf(found) : endpoint;
  if (place === '') throw invalid('it names neither AccountName nor BlobEndpoint');
  return {
    ...location,
    accountName: accountName === '' ? account : accountName,
    accountKey: accountKey === '' ? (found.get('accountkey') ?? '') : accountKey,
    sasToken: sasToken === '' ? (found.get('sharedaccesssignature') ?? '') : sasToken,
    endpoint: place,
  };
}
