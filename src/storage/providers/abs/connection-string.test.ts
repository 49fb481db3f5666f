import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AbsLocation } from '../../locations.ts';
import { withConnectionString } from './connection-string.ts';

const PLAIN: AbsLocation = {
  type: 'abs',
  bucket: 'box',
  path: 'p',
  endpoint: '',
  accountName: '',
  accountKey: '',
  sasToken: '',
  connectionString: '',
};
const KEYED =
  'DefaultEndpointsProtocol=https;AccountName=acc;AccountKey=c2VjcmV0MQ==;EndpointSuffix=core.windows.net';

test('account, key and endpoint of a connection string are used', () => {
  const location = withConnectionString({ ...PLAIN, connectionString: KEYED }, {});
  assert.equal(location.accountName, 'acc');
  assert.equal(location.accountKey, 'c2VjcmV0MQ==');
  assert.equal(location.endpoint, 'https://acc.blob.core.windows.net');
});

test('an endpoint and a SAS token in it are used', () => {
  const text =
    'BlobEndpoint=https://acc.blob.core.chinacloudapi.cn/;SharedAccessSignature=sv=2024&sig=a%3D';
  const location = withConnectionString({ ...PLAIN, connectionString: text }, {});
  assert.equal(location.endpoint, 'https://acc.blob.core.chinacloudapi.cn/');
  assert.equal(location.sasToken, 'sv=2024&sig=a%3D');
});

test('the emulator has a short form', () => {
  const text = 'UseDevelopmentStorage=true';
  const location = withConnectionString({ ...PLAIN, connectionString: text }, {});
  assert.equal(location.accountName, 'devstoreaccount1');
  assert.equal(location.endpoint, 'http://127.0.0.1:10000/devstoreaccount1');
});

test('what the settings say themselves comes first', () => {
  const location = withConnectionString(
    { ...PLAIN, endpoint: 'http://127.0.0.1:1/acc', accountKey: 'b3du', connectionString: KEYED },
    {},
  );
  assert.equal(location.endpoint, 'http://127.0.0.1:1/acc');
  assert.equal(location.accountKey, 'b3du');
});

test('the variable counts where nothing else is said, and for its own account only', () => {
  const environment = { AZURE_STORAGE_CONNECTION_STRING: KEYED };
  assert.equal(withConnectionString(PLAIN, environment).accountName, 'acc');
  const keyed = { ...PLAIN, accountName: 'acc', accountKey: 'b3du' };
  assert.equal(withConnectionString(keyed, environment), keyed);
  const other = { ...PLAIN, accountName: 'other' };
  assert.equal(withConnectionString(other, environment), other);
  const named = { ...environment, LITESTREAM_AZURE_ACCOUNT_KEY: 'b3du' };
  assert.equal(withConnectionString(PLAIN, named), PLAIN);
});

test('a string that makes no sense is refused without being shown', () => {
  const cases = {
    'AccountKey=c2VjcmV0MQ==': 'it names neither AccountName nor BlobEndpoint',
    'AccountName=acc;c2VjcmV0MQ': 'a part of it is not NAME=VALUE',
  };
  for (const [text, why] of Object.entries(cases)) {
    assert.throws(() => withConnectionString({ ...PLAIN, connectionString: text }, {}), {
      code: 'ERR_STORAGE_URL',
      message: `abs: invalid connection string: ${why}`,
    });
  }
  assert.throws(
    () => withConnectionString({ ...PLAIN, accountName: 'me', connectionString: KEYED }, {}),
    /it is for account acc, the replica is in account me/,
  );
});
