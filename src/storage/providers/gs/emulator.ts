import { LitestreamError } from '../../../lib/errors.ts';
import type { HttpTarget } from '../../http/index.ts';
import { targetOf } from './fetch.ts';

const NAME = 'STORAGE_EMULATOR_HOST';

/**
 * The server that STORAGE_EMULATOR_HOST names: `127.0.0.1:4443`, `http://localhost:4443`; undefined without one.
 *
 * @throws LitestreamError `ERR_CONFIG` for anything else.
 */
export function emulatorTarget(
  environment: Readonly<Record<string, string | undefined>>,
): HttpTarget | undefined {
  const text = environment[NAME]?.trim() ?? '';
  if (text === '') return undefined;
  const url = URL.parse(/^https?:\/\//i.test(text) ? text : `http://${text}`);
  if (url !== null) return targetOf(url);
  throw new LitestreamError('ERR_CONFIG', `${NAME} is not an address: ${text}`, {
    hint: 'give host:port, such as 127.0.0.1:4443',
  });
}
