/**
 * Splits a Dockerfile instruction into words at white space. Quotes, backslashes, `$NAME`, `${NAME}`, and its
 * forms with `-`, `+`, `?` (each also with a colon), `#`, `##`, `%`, `%%`, `/` and `//` have their meaning in
 * a shell. Mirrors `moby/buildkit: frontend/dockerfile/{shell/lex.go,parser/line_parsers.go}`.
 */
import { replaceMatch, trimMatch } from './patterns.ts';
import { WordError } from './word-error.ts';

/** Go's `unicode.IsSpace`, which differs from JavaScript's white space. */
const SPACE = '\\t-\\r \\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000';
const SPACES = new RegExp(`[${SPACE}]+`);
const LEADING = new RegExp(`^[${SPACE}]+`);
const TRAILING = new RegExp(`[${SPACE}]+$`);

/** Removes Go's white space at the beginning. */
export function trimSpaceLeft(text: string): string {
  return text.replace(LEADING, '');
}

/** Go's `strings.TrimSpace`. */
export function trimSpace(text: string): string {
  return trimSpaceLeft(text).replace(TRAILING, '');
}

/** Values of variables; a missing one is empty. */
export type Environment = ReadonlyMap<string, string>;

/** The escape character. The character after it is literal. At the end of a line, it continues the line. */
export type Escape = '\\' | '`';

const WORDS: Readonly<Record<Escape, RegExp>> = {
  '\\': new RegExp(`(?:\\\\[^]|'[^']*'?|"(?:\\\\[^]|[^"\\\\])*"?|[^${SPACE}'"\\\\]|\\\\$)+`, 'g'),
  '`': new RegExp(`(?:\`[^]|'[^']*'?|"(?:\`[^]|[^"\`])*"?|[^${SPACE}'"\`]|\`$)+`, 'g'),
};

/** Returns the words of `text`, with their quotes and escapes. */
export function splitWords(text: string, escape: Escape): string[] {
  return text.match(WORDS[escape]) ?? [];
}

/** Expands one word: fills in variables, and removes quotes and escapes. @throws WordError */
export function expandWord(word: string, environment: Environment, escape: Escape): string {
  return new Lexer(word, environment, escape).run().join(' ');
}

/**
 * Expands as {@link expandWord} does, but white space of unquoted variables separates words.
 * @throws WordError
 */
export function expandWords(word: string, environment: Environment, escape: Escape): string[] {
  const words = new Lexer(word, environment, escape).split();
  return words.filter((each) => each !== '');
}

const NAME = /[\p{L}_][\p{L}\p{Nd}_]*|[0-9]+|[@*#?\-$!]/uy;

/** Reads one word from left to right. */
class Lexer {
  readonly #text: string;
  readonly #environment: Environment;
  readonly #escape: Escape;
  #at = 0;

  constructor(text: string, environment: Environment, escape: Escape) {
    // Go's scanner skips a byte order mark at the beginning.
    this.#text = text.replace(/^\ufeff/, '');
    this.#environment = environment;
    this.#escape = escape;
  }

  /** Reads the whole text as one word. */
  run(): string[] {
    return [this.#until('')];
  }

  /** Reads words. Unquoted white space, also that of variables, ends a word. */
  split(): string[] {
    const words: string[] = [];
    let word = '';
    while (this.#at < this.#text.length) {
      const quoted = `'"${this.#escape}`.includes(this.#peek());
      const part = this.#part();
      if (quoted) word += part;
      else {
        const [first = '', ...rest] = part.split(SPACES);
        word += first;
        for (const next of rest) {
          words.push(word);
          word = next;
        }
      }
    }
    return [...words, word];
  }

  #peek(): string {
    return this.#text.charAt(this.#at);
  }

  /**
   * Reads everything up to `stop` ('' for the end), and `stop` itself.
   * @param raw - escapes stay, with the characters after them
   */
  #until(stop: string, raw = false): string {
    let result = '';
    while (this.#at < this.#text.length) {
      if (stop !== '' && this.#peek() === stop) {
        this.#at++;
        return result;
      }
      result += this.#part(raw);
    }
    if (stop !== '') throw new WordError(`a "${stop}" is missing in ${this.#text}`);
    return result;
  }

  #part(raw = false): string {
    const char = this.#text.charAt(this.#at++);
    if (char === "'") return this.#singleQuoted();
    if (char === '"') return this.#doubleQuoted();
    if (char === '$') return this.#variable();
    if (char !== this.#escape) return char;
    return (raw ? char : '') + this.#text.charAt(this.#at++);
  }

  #singleQuoted(): string {
    const end = this.#text.indexOf("'", this.#at);
    if (end < 0) throw new WordError(`a single quote is not closed in ${this.#text}`);
    const quoted = this.#text.slice(this.#at, end);
    this.#at = end + 1;
    return quoted;
  }

  #doubleQuoted(): string {
    let result = '';
    for (;;) {
      const char = this.#text.charAt(this.#at++);
      if (char === '') throw new WordError(`a double quote is not closed in ${this.#text}`);
      if (char === '"') return result;
      if (char === '$') result += this.#variable();
      else if (char === this.#escape && ['"', '$', this.#escape].includes(this.#peek()))
        result += this.#text.charAt(this.#at++);
      else result += char;
    }
  }

  /** Reads a variable after its dollar. */
  #variable(): string {
    if (this.#peek() !== '{') {
      const name = this.#name();
      return name === '' ? '$' : (this.#environment.get(name) ?? '');
    }
    this.#at++;
    const name = this.#name();
    if (name === '') throw new WordError(`bad substitution in ${this.#text}`);
    const found = this.#environment.get(name);
    const operator = this.#text.charAt(this.#at++);
    if (operator === '}') return found ?? '';
    if (operator === '#' || operator === '%') return this.#trimmed(found ?? '', operator);
    if (operator === '/') return this.#replaced(found ?? '');
    const isColon = operator === ':';
    const modifier = isColon ? this.#text.charAt(this.#at++) : operator;
    if (!['+', '-', '?'].includes(modifier))
      throw new WordError(
        isColon ? `unsupported modifier (${modifier}) in ${this.#text}` : `a "}" is missing in ${this.#text}`,
      );
    const word = this.#until('}');
    // With a colon, an empty value counts as unset.
    const value = isColon && found === '' ? undefined : found;
    if (modifier === '+') return value === undefined ? '' : word;
    if (value !== undefined) return value;
    if (modifier === '-') return word;
    throw new WordError(`${name}: ${word === '' ? 'is not set' : word}`);
  }

  /** Removes what a pattern matches at the beginning (`#`) or end (`%`); a double sign removes the most. */
  #trimmed(value: string, operator: '#' | '%'): string {
    const longest = this.#peek() === operator;
    if (longest) this.#at++;
    const pattern = this.#until('}', true);
    return trimMatch(value, { pattern, escape: this.#escape, longest, atEnd: operator === '%' });
  }

  /** Replaces the first match of a pattern (`/`), or all (`//`). */
  #replaced(value: string): string {
    const all = this.#peek() === '/';
    if (all) this.#at++;
    const pattern = this.#until('/', true);
    const replacement = this.#until('}');
    return replaceMatch(value, { pattern, escape: this.#escape, replacement, all });
  }

  #name(): string {
    NAME.lastIndex = this.#at;
    const name = NAME.exec(this.#text)?.[0] ?? '';
    this.#at += name.length;
    return name;
  }
}
