import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { parseXml, type XmlElement } from './index.ts';

const parse = (text: string): Promise<XmlElement> => parseXml(text, { what: 'list' });

function escape(text: string): string {
  return text.replace(/[&<>"'\r\n\t]/g, (character) => `&#${character.codePointAt(0)};`);
}

describe('parseXml', () => {
  it('reads a listing of objects', async () => {
    const root = await parse(`<?xml version="1.0" encoding="UTF-8"?>
      <ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
        <Name>b</Name><IsTruncated>false</IsTruncated><KeyCount>2</KeyCount>
        <Contents><Key> a&amp;b </Key><Size>007</Size></Contents>
        <Contents><Key>&#xe9;&#233;&lt;&amp;lt;</Key><Size>12345678901234567890</Size></Contents>
        <Empty/>
      </ListBucketResult>`);
    assert.equal(root.name, 'ListBucketResult');
    assert.equal(root.text('IsTruncated'), 'false');
    const objects = root.children('Contents');
    assert.deepEqual(
      objects.map((object) => [object.text('Key'), object.text('Size')]),
      [
        [' a&b ', '007'],
        ['éé<&lt;', '12345678901234567890'],
      ],
    );
    assert.equal(root.text('Empty'), '');
    assert.equal(root.text('Missing'), undefined);
    assert.deepEqual(root.children('Missing'), []);
    assert.equal(root.text('Contents', 'Missing', 'Key'), undefined);
  });

  it('does not care for prefixes of namespaces', async () => {
    for (const prefix of ['', 'D:', 'lp1:']) {
      const root = await parse(
        `<${prefix}multistatus><${prefix}response><${prefix}href>/x</${prefix}href></${prefix}response></${prefix}multistatus>`,
      );
      assert.equal(root.name, 'multistatus');
      assert.equal(root.text('response', 'href'), '/x');
    }
  });

  it('takes CDATA literally, attributes and comments not at all', async () => {
    const root = await parse('<a><b x="1"><![CDATA[<&amp;>]]></b><!-- c --><b>1</b></a>');
    assert.deepEqual(
      root.children('b').map((b) => b.text()),
      ['<&amp;>', '1'],
    );
  });

  it('knows only what was in the text', async () => {
    const root = await parse('<a><b>1</b></a>');
    for (const name of ['__proto__', 'constructor', 'toString', '#text', 'hasOwnProperty']) {
      assert.equal(root.text(name, 'length'), undefined, name);
    }
    assert.equal(root.children('constructor').length, 0);
  });

  it('refuses document types, so that no entity expands', async () => {
    const bomb = '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;&b;">]><a>&c;</a>';
    await assert.rejects(parse(bomb), {
      code: 'ERR_STORAGE_TEMPORARY',
      message: 'list: the answer is no valid XML: it has a document type',
    });
    assert.equal((await parse('<a>&b;</a>')).text(), '&b;');
  });

  it('takes every cut of a listing for an error', async () => {
    const text = '<l><c><k>a</k></c><c><k>b</k></c></l>';
    for (let length = 0; length < text.length; length++) {
      await assert.rejects(parse(text.slice(0, length)), { code: 'ERR_STORAGE_TEMPORARY' });
    }
  });

  it('refuses what is no XML', async () => {
    const texts = ['', 'text', '{"a":1}', '<a></b>', '<a/><b/>', '<!doctype html><html></html>'];
    texts.push('<a>'.repeat(100) + '</a>'.repeat(100));
    for (const text of texts) {
      await assert.rejects(parse(text), { code: 'ERR_STORAGE_TEMPORARY' }, text.slice(0, 40));
    }
  });

  it('has no limit on the number of entities', async () => {
    const root = await parse(`<l>${'<k>a&amp;b</k>'.repeat(20_000)}</l>`);
    assert.equal(root.children('k').length, 20_000);
    assert.equal(root.children('k').at(-1)?.text(), 'a&b');
  });

  it('gives every text back as it was', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.string({ unit: 'grapheme', maxLength: 20 })), async (keys) => {
        const printable = keys.filter((key) => !/\p{Cc}/u.test(key));
        const root = await parse(
          `<l>${printable.map((key) => `<k>${escape(key)}</k>`).join('')}</l>`,
        );
        assert.deepEqual(
          root.children('k').map((k) => k.text()),
          printable,
        );
      }),
    );
  });
});
