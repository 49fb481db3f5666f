import type { Logger } from '../../../telemetry/index.ts';
import { type ListedObject, type ListPage, readListPage } from './answers.ts';
import type { S3Api } from './api.ts';

/**
 * All objects whose keys begin with a prefix, page by page. Spec: backends 5.2.6.
 *
 * @throws LitestreamError also for a list that is cut off or goes in circles: a part is never taken for the whole.
 */
export async function* listObjects(
  { api, logger }: { readonly api: S3Api; readonly logger: Logger },
  prefix: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<ListedObject, void, undefined> {
  const what = 'list objects page';
  let token: string | undefined;
  do {
    const asked: string | undefined = token;
    const query = {
      'list-type': '2',
      prefix,
      ...(asked !== undefined && { 'continuation-token': asked }),
    };
    const page: ListPage = await api.call({ what, method: 'GET', query, signal }, ({ text }) =>
      readListPage(what, text, asked),
    );
    logger.log('debug', 's3 LIST page', { prefix, keys: page.objects.length });
    for (const object of page.objects) if (object.key.startsWith(prefix)) yield object;
    token = page.next;
  } while (token !== undefined);
}
