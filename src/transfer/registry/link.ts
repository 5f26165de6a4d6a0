/**
 * Parses `Link` as RFC 8288 section 3 defines it: several links in one field or in several, the target in
 * angle brackets (where commas and semicolons belong to it), parameters in any order, as tokens or quoted
 * strings. Malformed text is skipped up to the next comma.
 */
import { HeaderScanner } from './header-scanner.ts';

export interface Link {
  /** The target as written: usually relative to the URL that answered. */
  readonly target: string;
  /** Relation types, in lower case. */
  readonly rel: readonly string[];
  /** The subject of the link, where it is not the document that came with it. */
  readonly anchor: string | undefined;
}

/** A next page's link has some hundred characters. */
const MAX_CHARS = 64 * 1024;

/** Returns the links of a response, in its order. Links beyond the limit count as absent. */
export function parseLinks(header: string | readonly string[] | undefined): Link[] {
  const found: Link[] = [];
  let left = MAX_CHARS;
  for (const field of [header ?? []].flat()) {
    const scanner = new HeaderScanner(field.slice(0, left));
    left = Math.max(0, left - field.length);
    for (scanner.skip(SEPARATORS); !scanner.atEnd; scanner.skip(SEPARATORS)) {
      const link = linkAt(scanner);
      if (link) found.push(link);
      else scanner.toComma();
    }
  }
  return found;
}

const SEPARATORS = ' \t,';

function linkAt(scanner: HeaderScanner): Link | undefined {
  if (scanner.peek() !== '<') return undefined;
  const target = scanner.bracketed();
  if (target === undefined) return undefined;
  const params = parameters(scanner);
  scanner.skip(' \t');
  if (!scanner.atEnd && scanner.peek() !== ',') return undefined;
  const rel = (params.get('rel') ?? '').toLowerCase().split(/[ \t]+/);
  return { target: target.trim(), rel: rel.filter((type) => type !== ''), anchor: params.get('anchor') };
}

/** Returns the parameters by lower-case name. If one is given twice, the first counts. */
function parameters(scanner: HeaderScanner): Map<string, string> {
  const params = new Map<string, string>();
  for (scanner.skip(' \t'); scanner.peek() === ';'; scanner.skip(' \t')) {
    scanner.skip(' \t;');
    const name = (scanner.bare(' \t,;=') ?? '').toLowerCase();
    scanner.skip(' \t');
    if (scanner.peek() !== '=') continue;
    scanner.at++;
    scanner.skip(' \t');
    const value = scanner.peek() === '"' ? scanner.quoted() : scanner.bare(' \t,;');
    if (value !== undefined && !params.has(name)) params.set(name, value);
  }
  return params;
}
