import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { xmlPieces } from './index.ts';

const LIMIT = 1 << 24;

async function* inChunks(text: string, sizes: readonly number[]): AsyncGenerator<Uint8Array> {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
    const size = sizes[turn % sizes.length] ?? 1;
    await Promise.resolve();
    yield bytes.slice(at, at + size);
    at += size;
  }
}

function parse(text: string, sizes: readonly number[] = [65_536]): ReturnType<typeof xmlPieces> {
  return xmlPieces(inChunks(text, sizes), { what: 'list', element: 'item', limitBytes: LIMIT });
}

async function itemsOf(text: string, sizes?: readonly number[]): Promise<string[][]> {
  const pieces: string[][] = [];
  for await (const root of parse(text, sizes)) {
    assert.equal(root.name, 'list');
    pieces.push(root.children('item').map((item) => item.text('name') ?? ''));
  }
  return pieces;
}

/** A document of so many items of about 500 bytes. */
function documentOf(count: number, prefix = 'D:', head = ''): { text: string; names: string[] } {
  const names = Array.from({ length: count }, (_, at) => `ä-${at}-${'x'.repeat(430)}`);
  const items = names.map(
    (name) => `<${prefix}item >\n<${prefix}name>${name}</${prefix}name></${prefix}item\n>`,
  );
  const open = `<${prefix}list xmlns:D="DAV:" xmlns="DAV:">`;
  const text = `<?xml version="1.0"?>${head}${open}<token>1</token>${items.join('\n')}</${prefix}list>`;
  return { text, names };
}

describe('xmlPieces', () => {
  it('gives all elements in their order, in pieces of bounded size', async () => {
    for (const prefix of ['D:', '', 'lp1:']) {
      const { text, names } = documentOf(1000, prefix, '<!-- <a> -->');
      const pieces = await itemsOf(text);
      assert.deepEqual(pieces.flat(), names);
      assert.ok(pieces.length >= 14, `${pieces.length} pieces`);
      for (const piece of pieces) assert.ok(piece.length <= 80, `${piece.length} in a piece`);
    }
  });

  it('cuts also what arrives at once', async () => {
    const { text, names } = documentOf(1000);
    const pieces = await itemsOf(text, [text.length * 2]);
    assert.deepEqual(pieces.flat(), names);
    assert.ok(pieces.length >= 14, `${pieces.length} pieces`);
  });

  it('lets the event loop go on', async () => {
    const { text } = documentOf(2000);
    let turns = 0;
    let isRunning = true;
    const count = (): void => {
      turns += 1;
      if (isRunning) setImmediate(count);
    };
    setImmediate(count);
    const pieces = await itemsOf(text, [text.length * 2]);
    isRunning = false;
    assert.ok(turns >= pieces.length - 1, `${turns} turns, ${pieces.length} pieces`);
  });

  it('does not care where chunks begin', async () => {
    const { text, names } = documentOf(300);
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 70_000 }), { minLength: 1, maxLength: 5 }),
        async (sizes) => {
          assert.deepEqual((await itemsOf(text, sizes)).flat(), names);
        },
      ),
      { numRuns: 20 },
    );
  });

  it('takes a text without the element, or without an end, for what it is', async () => {
    assert.deepEqual(await itemsOf('<list/>'), [[]]);
    assert.deepEqual(await itemsOf(`<list>${'<other>text</other>'.repeat(20_000)}</list>`), [[]]);
    const { text } = documentOf(400);
    const long = text.slice(0, text.lastIndexOf('</D:list>'));
    for (const cut of [long, text.slice(0, -30), text.slice(0, 100_000), `${text}<more/>`]) {
      await assert.rejects(itemsOf(cut), { code: 'ERR_STORAGE_TEMPORARY' });
    }
    const typed = text.replace('?>', '?><!DOCTYPE list>');
    await assert.rejects(itemsOf(typed), { code: 'ERR_STORAGE_TEMPORARY' });
    await assert.rejects(itemsOf(''), { code: 'ERR_STORAGE_TEMPORARY' });
  });

  it('ends a document that is too long', async () => {
    const body = inChunks(documentOf(100).text, [1000]);
    const pieces = xmlPieces(body, { what: 'list', element: 'item', limitBytes: 20_000 });
    await assert.rejects(pieces.next(), {
      code: 'ERR_STORAGE',
      message: 'list: answer is longer than 20000 bytes',
    });
  });
});
