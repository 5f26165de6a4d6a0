/** Suggests the known word that a misspelt word may mean. */

/**
 * Returns the word of `words` that is nearest to `typed`. At most a third of its letters may be added,
 * missing, different or swapped. Case does not count.
 */
export function nearest(typed: string, words: readonly string[]): string | undefined {
  let found: string | undefined;
  let least = Math.max(1, Math.floor(typed.length / 3)) + 1;
  for (const word of words) {
    const slips = distance(typed.toLowerCase(), word.toLowerCase(), least);
    if (slips >= least) continue;
    least = slips;
    found = word;
  }
  return found;
}

/** Counts the edits between two words (optimal string alignment), up to `bound`. */
function distance(a: string, b: string, bound: number): number {
  if (Math.abs(a.length - b.length) >= bound) return bound;
  let [before, last] = [[] as number[], Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      const edits = Math.min(at(last, j) + 1, at(row, j - 1) + 1, at(last, j - 1) + same);
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      row.push(swapped ? Math.min(edits, at(before, j - 2) + 1) : edits);
    }
    [before, last] = [last, row];
  }
  return Math.min(at(last, b.length), bound);
}

function at(row: readonly number[], index: number): number {
  return row[index] ?? Infinity;
}
