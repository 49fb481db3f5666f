import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { optionalPackage } from './optional-package.ts';

void describe('optional packages', () => {
  void it('says in one line how to install what is missing', async () => {
    const name = 'litestream-no-such-package';
    const load = (): Promise<unknown> => import(name);
    await assert.rejects(optionalPackage(load, 'odd replicas', name, 'another'), {
      code: 'ERR_STORAGE_URL',
      message: `odd replicas need a package that is not installed; run: npm install ${name} another`,
    });
  });

  void it('gives what it has loaded and passes every other error on', async () => {
    assert.equal(await optionalPackage(() => Promise.resolve(7), 'odd replicas', 'x'), 7);
    const broken = new SyntaxError('broken package');
    await assert.rejects(
      optionalPackage(() => Promise.reject(broken), 'odd replicas', 'x'),
      broken,
    );
  });
});
