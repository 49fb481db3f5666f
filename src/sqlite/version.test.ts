import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isLitestreamError } from '../lib/errors.ts';
import { hasWalResetFix, requireSafeSqlite, sqliteVersion } from './version.ts';

const TABLE: readonly (readonly [version: string, safe: boolean])[] = [
  ['3.44.5', false],
  ['3.44.6', true],
  ['3.49.1', false],
  ['3.50.4', false],
  ['3.50.7', true],
  ['3.51.2', false],
  ['3.51.3', true],
  ['3.52.0', true],
  ['3.53.2', true],
  ['nonsense', false],
];

for (const [version, safe] of TABLE) {
  test(`CHK-01 NODE-05 SQLite ${version} is ${safe ? 'accepted' : 'refused'}`, () => {
    assert.equal(hasWalResetFix(version), safe);
    if (safe) requireSafeSqlite(version);
    else {
      assert.throws(
        () => requireSafeSqlite(version),
        (error) => isLitestreamError(error, 'ERR_SQLITE_VERSION'),
      );
    }
  });
}

test('the SQLite in use is accepted', () => {
  requireSafeSqlite(sqliteVersion());
});
