/**
 * What is left to do when a change has happened: bringing its name to disk, taking marks away, giving locks and mounts back.
 * Everybody sees the change by then, so what goes wrong here must not be told as its failure: who is told of an error takes the
 * store to be as it was. It is a warning in the log instead, which begins with {@link DONE_BUT}; commands print it.
 */
import { isSystemError } from '../core/errors.ts';
import type { Logger } from './log.ts';
import { call, native, type BatchStep } from './native.ts';

/** How the log's warnings about the aftermath of a change begin. */
export const DONE_BUT = 'done, but ';

/** Steps behind the one that makes a change, and what follows where one of them fails. */
export interface Rest {
  readonly steps: readonly BatchStep[];
  readonly otherwise: string;
}

/** The aftermath of all changes of one opened store. */
export class Aftermath {
  readonly #root: string;
  readonly #log: Pick<Logger, 'warn'>;

  constructor(root: string, log: Pick<Logger, 'warn'>) {
    this.#root = root;
    this.#log = log;
  }

  /**
   * Does `work`; what it throws is told, with what follows from it.
   * @returns what it resolves with; undefined where it failed
   */
  async run<T>(otherwise: string, work: () => Promise<T>): Promise<T | undefined> {
    try {
      return await work();
    } catch (error) {
      this.tell(otherwise, error);
      return undefined;
    }
  }

  /**
   * Does `steps`, whose last is the change, and the rest: one native batch.
   * @returns whether the rest is done, too
   * @throws as `native.batch`, where one of `steps` fails.
   */
  async batch(steps: readonly BatchStep[], { steps: rest, otherwise }: Rest): Promise<boolean> {
    try {
      await call(native.batch(this.#root, [...steps, ...rest]));
      return true;
    } catch (error) {
      if (!isSystemError(error) || error.step === undefined || error.step < steps.length) throw error;
      this.tell(otherwise, error);
      return false;
    }
  }

  /** Tells what follows from an error. */
  tell(otherwise: string, error: unknown): void {
    this.#log.warn(`${DONE_BUT}${otherwise}`, { error });
  }
}
