import { yieldToLoop } from '../../../lib/clock.ts';
import { LitestreamError } from '../../../lib/errors.ts';
import { parseHttpDate } from '../../http/index.ts';
import { percentDecode } from '../../percent.ts';
import { type XmlElement, xmlPieces } from '../../xml/index.ts';

/** A request for what a listing needs, and nothing else. */
export const PROPFIND_BODY: Uint8Array = new TextEncoder().encode(
  '<?xml version="1.0" encoding="utf-8"?><propfind xmlns="DAV:"><prop>' +
    '<resourcetype/><getcontentlength/><getlastmodified/><getetag/>' +
    '</prop></propfind>',
);

/** Several hundred thousand members. */
const LISTING_SIZE_MAX = 256 * 1024 * 1024;

/** One member of a collection. */
export interface Member {
  /** Decoded, without slashes. */
  readonly name: string;
  readonly isCollection: boolean;
  /** Bytes; undefined if the server does not say. */
  readonly size: number | undefined;
  /** Milliseconds since the Unix epoch in whole seconds; 0 if the server does not say. */
  readonly modifiedAt: number;
  /** Changes with the content, where the server has it; otherwise empty. */
  readonly etag: string;
}

interface Entry extends Member {
  /** Decoded parts of the whole path. */
  readonly parts: readonly string[];
}

/**
 * The direct members of a collection from the answer to a PROPFIND with depth 1. The collection itself and deeper entries, which
 * some servers send, are left out. Hosts and prefixes of the entries do not matter: proxies change them. The event loop goes on
 * while a long answer is read.
 *
 * @param path - of the collection, decoded.
 * @throws LitestreamError if it is no such answer.
 */
export async function readListing(
  body: AsyncIterable<Uint8Array>,
  path: string,
): Promise<Member[]> {
  const entries: Entry[] = [];
  const options = { what: 'PROPFIND', element: 'response', limitBytes: LISTING_SIZE_MAX };
  for await (const root of xmlPieces(body, options)) {
    if (root.name !== 'multistatus') throw noListing(root.name);
    for (const response of root.children('response')) entries.push(readEntry(response));
  }
  await yieldToLoop();
  const own = ownParts(entries, split(path).at(-1));
  return entries.filter(
    ({ parts }) => parts.length === own.length + 1 && own.every((part, at) => parts[at] === part),
  );
}

function noListing(found: string): LitestreamError {
  return new LitestreamError('ERR_STORAGE', `PROPFIND: expected multistatus, found ${found}`, {
    details: { expected: 'multistatus', found },
  });
}

/** Parts of the collection's own path: the shortest there is, if it ends in the collection's name; else its parent. */
function ownParts(entries: readonly Entry[], name: string | undefined): readonly string[] {
  let shortest: Entry | undefined;
  for (const entry of entries) {
    if (shortest === undefined || entry.parts.length < shortest.parts.length) shortest = entry;
  }
  if (shortest === undefined) return [];
  const { parts, isCollection } = shortest;
  return isCollection && (name === undefined || parts.at(-1) === name) ? parts : parts.slice(0, -1);
}

function split(path: string): string[] {
  return path.split('/').filter((part) => part !== '');
}

function readEntry(response: XmlElement): Entry {
  const href = (response.text('href') ?? '').trim().replace(/^[a-z]+:\/\/[^/]*/i, '');
  const parts = split(href).map((part) => {
    const decoded = percentDecode(part);
    return decoded.ok ? decoded.text : part;
  });
  const found = response
    .children('propstat')
    .find((propstat) => / 2[0-9][0-9](?: |$)/.test(propstat.text('status')?.trim() ?? ' 200'));
  const prop = found?.child('prop');
  const length = prop?.text('getcontentlength')?.trim() ?? '';
  return {
    parts,
    name: parts.at(-1) ?? '',
    isCollection: prop?.child('resourcetype', 'collection') !== undefined,
    size: /^[0-9]{1,15}$/.test(length) ? Number(length) : undefined,
    modifiedAt: parseHttpDate(prop?.text('getlastmodified') ?? '') ?? 0,
    etag: prop?.text('getetag') ?? '',
  };
}
