import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fileKey } from '../testing/index.ts';
import { cleanPath, joinPath, layoutFor } from './layouts.ts';

const NAME = '0000000000000001-000000000000000a.ltx';
const KEY = fileKey(0, 1, 10);

describe('layouts', () => {
  for (const type of ['s3', 'oss'] as const) {
    it(`concatenates path, four hex digits and name for ${type}`, () => {
      const layout = layoutFor(type);
      const keys = {
        p: 'p/0000/',
        'a/b': 'a/b/0000/',
        '.': './0000/',
        '': '/0000/',
        '/p/': '/p//0000/',
        'rel/': 'rel//0000/',
        '/abs': '/abs/0000/',
      };
      for (const [path, prefix] of Object.entries(keys)) {
        assert.equal(layout.levelPrefix(path, 0), prefix);
        assert.equal(layout.fileKey(path, KEY), prefix + NAME);
      }
      assert.equal(layout.levelPrefix('p', 9), 'p/0009/');
      assert.equal(layout.levelPrefix('p', 15), 'p/000f/');
    });
  }

  for (const type of ['file', 'sftp', 'webdav', 'gs', 'abs', 'nats'] as const) {
    it(`joins path, "ltx", level and name for ${type}`, () => {
      const layout = layoutFor(type);
      const keys = {
        p: 'p/ltx/0/',
        '.': 'ltx/0/',
        '': 'ltx/0/',
        '/p/': '/p/ltx/0/',
        '/': '/ltx/0/',
        'a//b/./c/..': 'a/b/ltx/0/',
      };
      for (const [path, prefix] of Object.entries(keys)) {
        assert.equal(layout.levelPrefix(path, 0), prefix);
        assert.equal(layout.fileKey(path, KEY), prefix + NAME);
      }
      assert.equal(layout.levelPrefix('p', 9), 'p/ltx/9/');
    });
  }

  it('cleans paths', () => {
    const cases = {
      '': '.',
      '.': '.',
      './': '.',
      '/': '/',
      '//': '/',
      '/.': '/',
      a: 'a',
      'a/': 'a',
      '/a//b/': '/a/b',
      'a/./b': 'a/b',
      'a/../b': 'b',
      'a/..': '.',
      '/..': '/',
      '/../a': '/a',
      '..': '..',
      '../../a': '../../a',
      'a/../../b': '../b',
      '/a/../../b': '/b',
      'a b/é': 'a b/é',
      '...': '...',
    };
    for (const [path, cleaned] of Object.entries(cases))
      assert.equal(cleanPath(path), cleaned, path);
  });

  it('joins the parts that are not empty', () => {
    assert.equal(joinPath('', 'a', '', 'b/'), 'a/b');
    assert.equal(joinPath('', ''), '');
    assert.equal(joinPath('/', 'a'), '/a');
  });
});
