/**
 * Long computations on the event loop, in short pieces: one piece of all of them in each of its turns, so that however many
 * there are at once, what else waits is kept for no longer than one piece.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { throwIfAborted } from './abort.ts';

const PIECE_MS = 2;

/** When the piece that was asked for last may begin. */
let last: Promise<unknown> = Promise.resolve();

/** The pace of one computation. */
export class Pace {
  readonly #signal: AbortSignal | undefined;
  #began = performance.now();

  constructor(signal?: AbortSignal) {
    this.#signal = signal;
  }

  /** Whether it is time to give others their turn, with {@link rest}. */
  get due(): boolean {
    return performance.now() - this.#began > PIECE_MS;
  }

  /**
   * Resolves when it may go on.
   * @throws {@link LayerstackError} ERR_ABORTED when the signal has fired.
   */
  async rest(): Promise<void> {
    const before = last;
    last = before.then(() => nextTurn());
    await last;
    throwIfAborted(this.#signal);
    this.#began = performance.now();
  }
}
