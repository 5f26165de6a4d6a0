/** Filters whose values are patterns, as docker has them for names and ids: a text itself, or an expression found in it. */
import { compileExpression } from '../../core/expression.ts';
import type { Pace } from '../../core/pace.ts';

/** The texts that one of the patterns is, or is found in as an expression; without patterns all of them. */
export async function matchPatterns(
  patterns: readonly string[],
  texts: readonly string[],
  pace: Pace,
): Promise<readonly string[]> {
  if (patterns.length === 0) return texts;
  const found = new Set<string>(patterns);
  for (const pattern of patterns) {
    if (pace.due) await pace.rest();
    // One that is malformed can still be a text itself.
    const isIn = compileExpression(pattern);
    for (const text of isIn === undefined ? [] : texts) {
      if (pace.due) await pace.rest();
      if (isIn?.(text) === true) found.add(text);
    }
  }
  return texts.filter((text) => found.has(text));
}
