/** A scanner of HTTP header fields: tokens, quoted strings, URLs. Every step takes linear time. */

export class HeaderScanner {
  readonly #text: string;
  at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  get atEnd(): boolean {
    return this.at >= this.#text.length;
  }

  /** Returns the next character; empty at the end. */
  peek(): string {
    return this.#text.charAt(this.at);
  }

  skip(characters: string): void {
    while (!this.atEnd && characters.includes(this.peek())) this.at++;
  }

  /** Reads RFC 7230's token; empty where there is none. */
  token(): string {
    return this.#while(isTokenCharacter);
  }

  /**
   * Reads a value without quotes, up to one of `ends`. It accepts more than the RFCs: URLs, which some
   * registries do not quote.
   */
  bare(ends = ' \t,'): string | undefined {
    const value = this.#while((character) => character !== '"' && !ends.includes(character));
    return value === '' || this.peek() === '"' ? undefined : value;
  }

  /** Reads a quoted string. Returns undefined where its end is missing; the whole text is then consumed. */
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

  /** Skips the blob of a scheme such as Negotiate, which may end in `=`. Returns whether there was one. */
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

  /**
   * Reads the text between angle brackets; the scanner is at the opening one. Undefined where the closing one
   * is missing.
   */
  bracketed(): string | undefined {
    this.at++;
    const text = this.#while((character) => character !== '>');
    return this.at++ < this.#text.length ? text : undefined;
  }

  /** Skips to the next comma outside of quotes. */
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
