import { yieldToLoop } from '../../lib/clock.ts';
import { LitestreamError } from '../../lib/errors.ts';
import type { XmlElement } from './element.ts';
import { parseXml, type ParseXmlOptions } from './parse.ts';

/** Text parsed at once: some milliseconds. */
const PIECE_LENGTH = 32 * 1024;
/** An end tag is shorter. */
const CLOSE_LENGTH_MAX = 200;

export interface XmlPiecesOptions extends ParseXmlOptions {
  /** Name, without namespace, of the root's children that the document may be cut behind. They are not nested. */
  readonly element: string;
  readonly limitBytes: number;
}

/** Cuts a growing text behind elements of one name. */
class Cutter {
  readonly #close: RegExp;
  readonly #open: RegExp;
  /** What stands in front of the first element: declaration and root tag. Not found near the start, the text stays whole. */
  #head: string | undefined;
  #rootEnd = '';
  #text = '';
  /** Up to here there is no place to cut. */
  #searched = PIECE_LENGTH;
  #isWhole = false;

  constructor(element: string) {
    this.#close = new RegExp(`</(?:[^<>\\s:]+:)?${element}\\s*>`, 'g');
    this.#open = new RegExp(`<(?:[^<>\\s:/]+:)?${element}[\\s>]`);
  }

  push(text: string): void {
    this.#text += text;
  }

  /** The next piece as a document of its own, once there is enough text for one. */
  next(): string | undefined {
    if (this.#isWhole || this.#text.length < PIECE_LENGTH) return undefined;
    this.#head ??= this.#takeHead();
    if (this.#head === '') {
      this.#isWhole = true;
      return undefined;
    }
    this.#close.lastIndex = this.#searched;
    const found = this.#close.exec(this.#text);
    if (found === null) {
      this.#searched = Math.max(PIECE_LENGTH, this.#text.length - CLOSE_LENGTH_MAX);
      return undefined;
    }
    const end = found.index + found[0].length;
    const piece = `${this.#head}${this.#text.slice(0, end)}${this.#rootEnd}`;
    this.#text = this.#text.slice(end);
    this.#searched = PIECE_LENGTH;
    return piece;
  }

  /** The rest, with the root's own end. */
  rest(): string {
    return (this.#head ?? '') + this.#text;
  }

  /** Empty if there is none. */
  #takeHead(): string {
    const at = this.#text.slice(0, PIECE_LENGTH).search(this.#open);
    const head = this.#text.slice(0, Math.max(0, at));
    const root = /<(?![?!])([^<>\s/]+)/.exec(head.replaceAll(/<!--.*?-->/gs, ''))?.[1];
    if (root === undefined) return '';
    this.#rootEnd = `</${root}>`;
    this.#text = this.#text.slice(at);
    return head;
  }
}

/**
 * Parses a document as it arrives, in pieces of bounded size, and lets the event loop go on between two of them. Each piece is a
 * whole document: the root with some of its children.
 *
 * @throws LitestreamError as `parseXml`; `ERR_STORAGE` if the document is too long.
 */
export async function* xmlPieces(
  body: AsyncIterable<Uint8Array>,
  { element, limitBytes, what }: XmlPiecesOptions,
): AsyncGenerator<XmlElement, void, undefined> {
  const decoder = new TextDecoder();
  const cutter = new Cutter(element);
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    if (size > limitBytes) {
      throw new LitestreamError(
        'ERR_STORAGE',
        `${what}: answer is longer than ${limitBytes} bytes`,
        {
          details: { limit: limitBytes },
        },
      );
    }
    cutter.push(decoder.decode(chunk, { stream: true }));
    for (let piece = cutter.next(); piece !== undefined; piece = cutter.next()) {
      yield await parseXml(piece, { what });
      await yieldToLoop();
    }
  }
  cutter.push(decoder.decode());
  yield await parseXml(cutter.rest(), { what });
}
