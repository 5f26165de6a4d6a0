/**
 * Reads a .dockerignore. Mirrors moby/moby: builder/dockerignore/dockerignore.go and pkg/fileutils at v20.10.
 * The patterns are matched in native code (native/tree/path_rules).
 */
import { posix } from 'node:path';
import { LayerstackError } from '../../core/errors.ts';

/** Patterns of paths, each perhaps after `!`, which takes paths back in. The last match decides. */
export type IgnoreRules = readonly string[];

/**
 * Returns the rules of a .dockerignore.
 * @param name - the file, for messages
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT naming the line of a malformed pattern.
 */
export function parseIgnoreRules(text: string, name: string): IgnoreRules {
  const lines = text.replace(/^\ufeff/, '').split('\n');
  return lines.flatMap((line, at) => {
    const pattern = line.startsWith('#') ? '' : line.trim();
    return pattern === '' ? [] : [ignoreRule(pattern, `${name}, line ${String(at + 1)}`)];
  });
}

/**
 * Returns one pattern in clean form.
 * @param where - begins the message of an error
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT
 */
export function ignoreRule(pattern: string, where: string): string {
  const exception = pattern.startsWith('!');
  const written = (exception ? pattern.slice(1) : pattern).trim();
  if (written === '')
    throw new LayerstackError('ERR_INVALID_ARGUMENT', `${where}: write a pattern after the "!"`, {
      found: pattern,
    });
  if (!isPattern(written))
    throw new LayerstackError(
      'ERR_INVALID_ARGUMENT',
      `${where}: ${JSON.stringify(pattern)} is not a pattern: close each "[", and write a character after "\\"`,
      { found: pattern },
    );
  const clean = posix.normalize(written).replace(/(?<=.)\/$/, '');
  return (exception ? '!' : '') + (clean.length > 1 ? clean.replace(/^\//, '') : clean);
}

/** Returns whether Go's filepath.Match accepts the pattern. */
export function isPattern(pattern: string): boolean {
  return /^(?:[^\\[]|\\.|\[\^?(?:\\.|[^\\\]-])(?:-?(?:\\.|[^\\\]-]))*\])*$/su.test(pattern);
}
