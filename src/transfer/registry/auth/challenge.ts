/**
 * `WWW-Authenticate` as RFC 7235 section 4.1 has it: several challenges in one field or in several, parameters as tokens
 * or quoted strings. One pass over the text without regular expressions over all of it, so time is linear; what is
 * malformed is passed over up to the next comma, and everything is bounded.
 */

export interface Challenge {
  /** Lower case: `basic`, `bearer`. */
  readonly scheme: string;
  /** By lower-case name; of a parameter given twice, the first. */
  readonly params: ReadonlyMap<string, string>;
}

/** A challenge of Docker Hub has 150 characters. */
const MAX_CHARS = 16 * 1024;
const MAX_CHALLENGES = 16;
const MAX_PARAMS = 32;

/** The challenges of a response, in its order. What lies beyond the bounds counts as absent. */
export function parseChallenges(header: string | readonly string[] | undefined): Challenge[] {
  const fields = header === undefined ? [] : typeof header === 'string' ? [header] : header;
  const found: Challenge[] = [];
  let left = MAX_CHARS;
  for (const field of fields) {
    if (left <= 0) break;
    const scanner = new Scanner(field.slice(0, left));
    left -= field.length;
    for (let next = challenge(scanner); next && found.length < MAX_CHALLENGES; next = challenge(scanner))
      found.push(next);
  }
  return found;
}

/** The next challenge; undefined at the end. */
function challenge(scanner: Scanner): Challenge | undefined {
  for (;;) {
    scanner.skip(' \t,');
    if (scanner.atEnd) return undefined;
    const scheme = scanner.token();
    // A scheme stands alone or before a space; anything else is rubbish or a stray parameter.
    if (scheme !== '' && (scanner.atEnd || ' \t,'.includes(scanner.peek())))
      return { scheme: scheme.toLowerCase(), params: parameters(scanner) };
    scanner.toComma();
  }
}

/** The parameters of a challenge, up to where the next one begins. */
function parameters(scanner: Scanner): Map<string, string> {
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

/** A place in a text. */
class Scanner {
  readonly #text: string;
  at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  get atEnd(): boolean {
    return this.at >= this.#text.length;
  }

  /** The next character; empty at the end. */
  peek(): string {
    return this.#text.charAt(this.at);
  }

  skip(characters: string): void {
    while (!this.atEnd && characters.includes(this.peek())) this.at++;
  }

  /** RFC 7230's token; empty where there is none. */
  token(): string {
    return this.#while(isTokenCharacter);
  }

  /** A value without quotes. More than RFC 7235 allows: URLs, which some registries do not quote. */
  bare(): string | undefined {
    const value = this.#while((character) => !' \t,"'.includes(character));
    return value === '' || this.peek() === '"' ? undefined : value;
  }

  /** A quoted string; undefined where its end is missing, and then all of the text is read. */
  quoted(): string | undefined {
    const parts: string[] = [];
    for (this.at++; !this.atEnd; this.at++) {
      if (this.peek() === '"') {
        this.at++;
        return parts.join('');
      }
      if (this.peek() === '\\') this.at++;
      parts.push(this.peek());
    }
    return undefined;
  }

  /** Passes over the blob of a scheme such as Negotiate, whose last characters may be `=`, if there is one. */
  token68(): boolean {
    const start = this.at;
    this.#while((character) => isTokenCharacter(character) || character === '/');
    this.skip('=');
    const blob = this.at > start;
    this.skip(' \t');
    if (blob && (this.atEnd || this.peek() === ',')) return true;
    this.at = start;
    return false;
  }

  /** To the next comma outside of quotes. */
  toComma(): void {
    while (!this.atEnd && this.peek() !== ',') {
      if (this.peek() === '"') this.quoted();
      else this.at++;
    }
  }

  #while(accept: (character: string) => boolean): string {
    const start = this.at;
    while (!this.atEnd && accept(this.peek())) this.at++;
    return this.#text.slice(start, this.at);
  }
}

const TOKEN_CHARACTER = /[A-Za-z0-9!#$%&'*+.^_`|~-]/;

function isTokenCharacter(character: string): boolean {
  return TOKEN_CHARACTER.test(character);
}
