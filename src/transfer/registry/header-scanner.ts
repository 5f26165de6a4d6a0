/** A place in the text of an HTTP header field, and what may come there: tokens, quoted strings, URLs. Every step takes linear time. */

export class HeaderScanner {
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

  /** A value without quotes, up to one of `ends`. More than the RFCs allow: URLs, which some registries do not quote. */
  bare(ends = ' \t,'): string | undefined {
    const value = this.#while((character) => character !== '"' && !ends.includes(character));
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

  /** What stands between angle brackets, at the first of which this is; undefined where the second is missing. */
  bracketed(): string | undefined {
    this.at++;
    const text = this.#while((character) => character !== '>');
    return this.at++ < this.#text.length ? text : undefined;
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
