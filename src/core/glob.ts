/**
 * Patterns as Go's `path.Match` takes them: `*` and `?` do not match a slash, `[a-z]`, `[^a]`, `\x`. Patterns come from
 * clients, so a match never takes longer than the square of the text's length.
 */
import { LayerstackError } from './errors.ts';

/** No name is as long. */
const MAX_PATTERN = 1024;

/** One character that fits, or any number of characters that are no slash. */
type Token = ((character: string) => boolean) | '*';

/**
 * Whether a whole text fits the pattern, as a function of the text.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT when it is malformed.
 */
export function compileGlob(pattern: string): (text: string) => boolean {
  const tokens: Token[] = [];
  if (pattern.length > MAX_PATTERN)
    throw new LayerstackError('ERR_INVALID_ARGUMENT', `a pattern has more than ${MAX_PATTERN} characters`);
  // One by one: after the first that is malformed nothing is looked at, so that "[[[[…" is read once.
  for (const [part] of pattern.matchAll(/\\[^]|\[\^?(?:\\[^]|[^\\\]])+\]|\*+|[^]/gu)) {
    const token = part.startsWith('*') ? '*' : singleOf(part);
    if (token === undefined)
      throw new LayerstackError(
        'ERR_INVALID_ARGUMENT',
        `${JSON.stringify(pattern)} is no pattern: it may have *, ?, [a-z], [^a-z] and \\x`,
      );
    tokens.push(token);
  }
  const least = tokens.filter((token) => token !== '*').length;
  return (text) => text.length >= least && fits(tokens, [...text]);
}

/** The earliest fit of what comes before a star is as good as any, so only the last star is ever tried again. */
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

/** Undefined where the part is malformed. */
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

/** The code of the first character, or of the last one: of `\x` that of `x`. */
function codeOf(text: string, index: 0 | -1): number {
  return [...text].at(index)?.codePointAt(0) ?? 0;
}
