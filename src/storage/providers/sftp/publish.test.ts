import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SftpStatusError, STATUS } from './errors.ts';
import { publish, publishNew } from './publish.ts';
import type { RemoteFiles } from './remote-files.ts';

type Renaming = Pick<RemoteFiles, 'rename' | 'replace' | 'remove' | 'stat'>;

const PATH = '/p/file';
const TEMPORARY = '/p/file.1.tmp';

/** The names of a server without extensions. `refuse` decides about each rename. */
function names(
  files: Map<string, string>,
  refuse: (from: string, to: string) => boolean = () => false,
): Renaming {
  return {
    replace: () => Promise.reject(new SftpStatusError(STATUS.unsupported, 'unsupported')),
    rename(from, to) {
      const content = files.get(from);
      if (content === undefined || files.has(to) || refuse(from, to))
        return Promise.reject(new SftpStatusError(STATUS.failure, 'Failure'));
      files.delete(from);
      files.set(to, content);
      return Promise.resolve();
    },
    remove(path) {
      files.delete(path);
      return Promise.resolve();
    },
    stat: (path) =>
      Promise.resolve(
        files.has(path) ? { kind: 'file' as const, size: 1, modifiedAt: 0 } : undefined,
      ),
  };
}

test('without the extension the old file gives way', async () => {
  const files = new Map([
    [PATH, 'old'],
    [TEMPORARY, 'new'],
  ]);
  await publish({ files: names(files), temporary: TEMPORARY, path: PATH });
  assert.deepEqual([...files], [[PATH, 'new']]);
});

test('without the extension the old file comes back if the new one cannot take its place', async () => {
  const files = new Map([
    [PATH, 'old'],
    [TEMPORARY, 'new'],
  ]);
  const server = names(files, (from) => from === TEMPORARY);
  await assert.rejects(publish({ files: server, temporary: TEMPORARY, path: PATH }), {
    code: 'ERR_STORAGE',
    message: `sftp: cannot rename temporary ltx file "${TEMPORARY}" to "${PATH}": Failure`,
  });
  assert.equal(files.get(PATH), 'old');
});

test('a name that must be free is not taken from a file, whoever comes first', async () => {
  const files = new Map([
    [PATH, 'old'],
    [TEMPORARY, 'new'],
  ]);
  const publication = { files: names(files), temporary: TEMPORARY, path: PATH };
  await assert.rejects(publishNew(publication), { code: 'ERR_STORAGE_EXISTS' });
  files.delete(PATH);
  const late = names(files, () => {
    files.set(PATH, 'theirs');
    return true;
  });
  await assert.rejects(publishNew({ ...publication, files: late }), { code: 'ERR_STORAGE_EXISTS' });
  assert.equal(files.get(PATH), 'theirs');
  files.delete(PATH);
  await publishNew(publication);
  assert.equal(files.get(PATH), 'new');
});
