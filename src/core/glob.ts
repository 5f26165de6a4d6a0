/**
 * Matches patterns as Go's `path.Match` does: `*` and `?` (which do not match a slash), `[a-z]`, `[^a]`,
 * `\x`. Patterns come from clients, so a match takes time at most quadratic in the text's length.
 */
import { LayerstackError } from './errors.ts';

/** All names are shorter. */
const MAX_PATTERN = 1024;

/** One character that matches, or any number of characters other than a slash. */
type Token = ((character: string) => boolean) | '*';

/**
 * Compiles a pattern to a function that returns whether a whole text matches it.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT when the pattern is malformed.
 */
export function compileGlob(pattern: string): (text: string) => boolean {
  const tokens: Token[] = [];
  if (pattern.length > MAX_PATTERN)
    throw new LayerstackError('ERR_INVALID_ARGUMENT', `a pattern has more than ${MAX_PATTERN} characters`);
  // Parts are read one by one, and reading stops at the first malformed one, so that "[[[[…" is read once.
  for (const [part] of pattern.matchAll(/\\[^]|\[\^?(?:\\[^]|[^\\\]])+\]|\*+|[^]/gu)) {
    const token = part.startsWith('*') ? '*' : singleOf(part);
    if (token === undefined)
      throw new LayerstackError(
        'ERR_INVALID_ARGUMENT',
        `${JSON.stringify(pattern)} is not a pattern: it may have *, ?, [a-z], [^a-z] and \\x`,
      );
    tokens.push(token);
  }
  const least = tokens.filter((token) => token !== '*').length;
  return (text) => text.length >= least && fits(tokens, [...text]);
}

/**
 * The earliest match of the part before a star is as good as any other, so only the last star is ever
 * retried.
 */
function fits(tokens: readonly Token[], text: readonly string[]): boolean {
  let [at, token] = [0, 0];
  let star: { readonly token: number; at: number } | undefined;
  while (at < text.length || token < tokens.length) {
    const next = tokens[token];
    const character = text[at];
    if (next === '*') star = { token: ++token, at };
    else if (next !== undefined && character !== undefined && next(character))
      [at, token] = [at + 1, token + 1];
    else if (star === undefined || star.at >= text.length || text[star.at] === '/') return false;
    else [at, token] = [++star.at, star.token];
  }
  return true;
}

/** Returns undefined where the part is malformed. */
function singleOf(part: string): Exclude<Token, '*'> | undefined {
  if (part === '?') return (character) => character !== '/';
  if (part === '[' || part === '\\') return undefined;
  if (part.startsWith('[')) return classOf(part);
  const literal = part.startsWith('\\') ? part.slice(1) : part;
  return (character) => character === literal;
}

function classOf(part: string): Exclude<Token, '*'> | undefined {
  const negated = part.startsWith('[^');
  const inner = part.slice(negated ? 2 : 1, -1);
  const ranges = [...inner.matchAll(/(\\[^]|[^\\-])(?:-(\\[^]|[^\\-]))?/gu)];
  if (ranges.map(([range]) => range).join('') !== inner) return undefined;
  const bounds = ranges.map(([, low = '', high = low]) => [codeOf(low, -1), codeOf(high, -1)] as const);
  if (bounds.some(([low, high]) => low > high)) return undefined;
  return (character) => {
    const code = codeOf(character, 0);
    return bounds.some(([low, high]) => low <= code && code <= high) !== negated;
  };
}

/** Returns the code of the first or last character; for `\x` the code of `x`. */
function codeOf(text: string, index: 0 | -1): number {
  return [...text].at(index)?.codePointAt(0) ?? 0;
}
