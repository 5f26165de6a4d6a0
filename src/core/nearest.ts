/** Words that somebody may have meant by a misspelt one. */

/**
 * The word of `words` that `typed` is most likely a slip of: at most a third of its letters are too many, too few, other, or have
 * changed places. Case does not count.
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

/** The edits between two words (optimal string alignment); `bound` where there are as many or more. */
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
