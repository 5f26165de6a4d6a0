/**
 * Parses `WWW-Authenticate` as RFC 7235 section 4.1 defines it: several challenges in one field or in
 * several, parameters as tokens or quoted strings. It makes one pass without regular expressions over the
 * whole text, so time is linear. Malformed text is skipped up to the next comma, and every size is limited.
 */
import { HeaderScanner } from '../header-scanner.ts';

export interface Challenge {
  /** In lower case: `basic`, `bearer`. */
  readonly scheme: string;
  /** Parameters by lower-case name. If one is given twice, the first counts. */
  readonly params: ReadonlyMap<string, string>;
}

/** A challenge of Docker Hub has 150 characters. */
const MAX_CHARS = 16 * 1024;
const MAX_CHALLENGES = 16;
const MAX_PARAMS = 32;

/** Returns the challenges of a response, in its order. Challenges beyond the limits count as absent. */
export function parseChallenges(header: string | readonly string[] | undefined): Challenge[] {
  const fields = header === undefined ? [] : typeof header === 'string' ? [header] : header;
  const found: Challenge[] = [];
  let left = MAX_CHARS;
  for (const field of fields) {
    if (left <= 0) break;
    const scanner = new HeaderScanner(field.slice(0, left));
    left -= field.length;
    for (let next = challenge(scanner); next && found.length < MAX_CHALLENGES; next = challenge(scanner))
      found.push(next);
  }
  return found;
}

/** Returns the next challenge; undefined at the end. */
function challenge(scanner: HeaderScanner): Challenge | undefined {
  for (;;) {
    scanner.skip(' \t,');
    if (scanner.atEnd) return undefined;
    const scheme = scanner.token();
    // A scheme stands alone or before a space. Anything else is malformed or a stray parameter.
    if (scheme !== '' && (scanner.atEnd || ' \t,'.includes(scanner.peek())))
      return { scheme: scheme.toLowerCase(), params: parameters(scanner) };
    scanner.toComma();
  }
}

/** Returns the parameters of a challenge, up to the beginning of the next one. */
function parameters(scanner: HeaderScanner): Map<string, string> {
  const params = new Map<string, string>();
  for (let first = true; ; first = false) {
    const start = scanner.at;
    scanner.skip(first ? ' \t' : ' \t,');
    if (scanner.atEnd) return params;
    if (first && scanner.token68()) continue;
    const name = scanner.token().toLowerCase();
    scanner.skip(' \t');
    if (name === '' || scanner.peek() !== '=') {
      scanner.at = start;
      return params;
    }
    scanner.at++;
    scanner.skip(' \t');
    const value = scanner.peek() === '"' ? scanner.quoted() : scanner.bare();
    if (value === undefined) {
      scanner.toComma();
    } else if (!params.has(name) && params.size < MAX_PARAMS) {
      params.set(name, value);
    }
  }
}
