/**
 * Filters by patterns, as docker has them for names and ids. A pattern is an exact text, or an expression to
 * search for.
 */
import { compileExpression } from '../../core/expression.ts';
import type { Pace } from '../../core/pace.ts';

/**
 * Returns the texts that equal one of the patterns or match it as an expression. Without patterns, returns
 * all texts.
 */
export async function matchPatterns(
  patterns: readonly string[],
  texts: readonly string[],
  pace: Pace,
): Promise<readonly string[]> {
  if (patterns.length === 0) return texts;
  const found = new Set<string>(patterns);
  for (const pattern of patterns) {
    if (pace.due) await pace.rest();
    // A malformed expression can still equal a text.
    const isIn = compileExpression(pattern);
    for (const text of isIn === undefined ? [] : texts) {
      if (pace.due) await pace.rest();
      if (isIn?.(text) === true) found.add(text);
    }
  }
  return texts.filter((text) => found.has(text));
}
