/**
 * The aftermath of a change: syncing its name to disk, removing markers, releasing locks and mounts. All
 * readers already see the change. A caller that gets an error assumes that the store is unchanged, so a
 * failure of the aftermath is not an error. It is a warning in the log that begins with {@link DONE_BUT}.
 * Commands print it.
 */
import { isSystemError } from '../core/errors.ts';
import type { Logger } from './log.ts';
import { call, native, type BatchStep } from './native.ts';

/** The first words of the log's warnings about the aftermath of a change. */
export const DONE_BUT = 'done, but ';

/** Steps after the step that makes a change, and the consequence of a failure among them. */
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
   * Does `work`. If it fails, logs the error with its consequence.
   * @returns the result of `work`; undefined where it failed
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
   * Does `steps`, the last of which makes the change, and then the rest, in one native batch.
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

  /** Logs an error with its consequence. */
  tell(otherwise: string, error: unknown): void {
    this.#log.warn(`${DONE_BUT}${otherwise}`, { error });
  }
}
