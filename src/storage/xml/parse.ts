import type { XMLParser, XMLValidator } from 'fast-xml-parser';
import { errorMessage, LitestreamError } from '../../lib/errors.ts';
import { CDATA_PROPERTY, TEXT_PROPERTY, XmlElement } from './element.ts';

/** Deeper than any answer of a store. */
const DEPTH_MAX = 32;

export interface ParseXmlOptions {
  /** What the text is, for errors: `list objects p/0000/`. */
  readonly what: string;
}

interface Parsing {
  readonly parser: XMLParser;
  readonly validate: typeof XMLValidator.validate;
}

let parsing: Promise<Parsing> | undefined;

async function load(): Promise<Parsing> {
  const { XMLParser, XMLValidator } = await import('fast-xml-parser');
  const parser = new XMLParser({
    cdataPropName: CDATA_PROPERTY,
    ignoreAttributes: true,
    ignoreDeclaration: true,
    ignorePiTags: true,
    maxNestedTags: DEPTH_MAX,
    parseTagValue: false,
    // Entities are replaced by our reader: the library limits their number, a listing does not.
    processEntities: false,
    removeNSPrefix: true,
    textNodeName: TEXT_PROPERTY,
    // Names of objects may begin and end with blanks.
    trimValues: false,
  });
  return { parser, validate: (text) => XMLValidator.validate(text) };
}

/**
 * Parses a whole XML document. Refuses document types, so there are no entities to expand; incomplete and malformed texts are
 * errors, never shorter lists. The parser is loaded at the first call.
 *
 * @returns the root element
 * @throws LitestreamError `ERR_STORAGE_TEMPORARY`: also a page of a proxy that says something in HTML.
 */
export async function parseXml(text: string, { what }: ParseXmlOptions): Promise<XmlElement> {
  const bare = text.startsWith('\ufeff') ? text.slice(1) : text;
  if (/<!DOCTYPE/i.test(bare)) throw notXml(what, 'it has a document type', bare);
  parsing ??= load();
  const { parser, validate } = await parsing;
  const verdict = validate(bare);
  if (verdict !== true) throw notXml(what, `${verdict.err.msg} (line ${verdict.err.line})`, bare);
  const roots = Object.entries(parse(parser, bare, what)).filter(
    ([name]) => name !== TEXT_PROPERTY && name !== CDATA_PROPERTY,
  );
  const [root] = roots;
  if (root === undefined || roots.length > 1 || Array.isArray(root[1])) {
    throw notXml(what, 'it has no single root', bare);
  }
  return new XmlElement(root[0], root[1]);
}

function parse(parser: XMLParser, text: string, what: string): object {
  try {
    const parsed: unknown = parser.parse(text);
    return typeof parsed === 'object' && parsed !== null ? parsed : {};
  } catch (error) {
    throw notXml(what, errorMessage(error), text, error);
  }
}

function notXml(what: string, reason: string, text: string, cause?: unknown): LitestreamError {
  return new LitestreamError(
    'ERR_STORAGE_TEMPORARY',
    `${what}: the answer is no valid XML: ${reason}`,
    {
      cause,
      retryable: true,
      details: { expected: 'XML', found: text.slice(0, 80) },
      hint: 'check the address: something else than the store may have answered',
    },
  );
}
