/** Patterns as Go's `path.Match` takes them: `*` and `?` do not match a slash, `[a-z]`, `[^a]`, `\x`. */
import { LayerstackError } from './errors.ts';

/**
 * The pattern as a regular expression over a whole text.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT when it is malformed.
 */
export function globToRegExp(pattern: string): RegExp {
  const parts = pattern.match(/\\.|\[\^?(?:\\.|[^\\\]])+\]|[\s\S]/gu) ?? [];
  try {
    return new RegExp(`^${parts.map(translate).join('')}$`, 'u');
  } catch (cause) {
    const message = `${JSON.stringify(pattern)} is no pattern: it may have *, ?, [a-z], [^a-z] and \\x`;
    throw new LayerstackError('ERR_INVALID_ARGUMENT', message, { cause });
  }
}

function translate(part: string): string {
  if (part === '*') return '[^/]*';
  if (part === '?') return '[^/]';
  if (part === '[' || part === '\\') throw new SyntaxError('unterminated');
  if (part.startsWith('[')) {
    const negated = part.startsWith('[^');
    const inner = part
      .slice(negated ? 2 : 1, -1)
      .replace(/\\(.)|([[&])/gu, (_, x?: string, y?: string) => literal(x ?? y ?? ''));
    return `[${negated ? '^' : ''}${inner}]`;
  }
  return literal(part.startsWith('\\') ? part.slice(1) : part);
}

/** One character that stands for itself, inside brackets and outside. */
function literal(character: string): string {
  return `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`;
}
