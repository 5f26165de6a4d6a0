/** Bounds the work that the variables of one Dockerfile take, so that a small file cannot take much of it. */
import { WordError } from './word-error.ts';

/** As many as the characters of the largest Dockerfile. Patterns take about a second for them. */
const MAX_STEPS = 4 << 20;

/** What the words of one Dockerfile may still take together. */
export class WordBudget {
  #left = MAX_STEPS;

  /**
   * Counts characters that are filled in, and the states that a pattern has at each character.
   * @throws {@link WordError}
   */
  spend(steps: number): void {
    this.#left -= steps;
    if (this.#left < 0)
      throw new WordError('the variables of the file take too much work: use fewer, or shorter values');
  }
}
