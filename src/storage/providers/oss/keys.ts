import { LitestreamError } from '../../../lib/errors.ts';
import type { OssLocation } from '../../locations.ts';
import type { OssKeys } from './signer.ts';

const ID = 'OSS_ACCESS_KEY_ID';
const SECRET = 'OSS_ACCESS_KEY_SECRET';
const TOKEN = 'OSS_SESSION_TOKEN';

/**
 * The keys of a replica: the configured pair, otherwise the environment's. The environment's token goes with its own pair, also
 * where that came through the configuration, and with any temporary key (`STS.…`). Read for every request, so that a program
 * around us may replace them. Spec: backends 5.7.
 *
 * @throws LitestreamError `ERR_STORAGE_DENIED` if there are none.
 */
export function ossKeys(
  { accessKeyId, secretAccessKey }: Pick<OssLocation, 'accessKeyId' | 'secretAccessKey'>,
  environment: Readonly<Record<string, string | undefined>>,
): OssKeys {
  const environmentId = environment[ID] ?? '';
  const token = environment[TOKEN] ?? '';
  if (accessKeyId !== '' && secretAccessKey !== '') {
    const temporary = accessKeyId === environmentId || accessKeyId.startsWith('STS.');
    const securityToken = temporary ? token : '';
    return { accessKeyId, accessKeySecret: secretAccessKey, securityToken };
  }
  const accessKeySecret = environment[SECRET] ?? '';
  if (environmentId !== '' && accessKeySecret !== '') {
    return { accessKeyId: environmentId, accessKeySecret, securityToken: token };
  }
  throw new LitestreamError('ERR_STORAGE_DENIED', 'oss: no credentials', {
    hint: `set access-key-id and secret-access-key, or ${ID} and ${SECRET}`,
  });
}
