/**
 * Splits long computations on the event loop into short pieces. Each turn of the loop runs one piece of one
 * of them. However many computations run at once, other work waits for one piece at most.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { throwIfAborted } from './abort.ts';

const PIECE_MS = 2;

/** Resolves when the piece that was requested last may begin. */
let last: Promise<unknown> = Promise.resolve();

/** The pace of one computation. */
export class Pace {
  readonly #signal: AbortSignal | undefined;
  #began = performance.now();

  constructor(signal?: AbortSignal) {
    this.#signal = signal;
  }

  /** Whether the computation should let other work run, with {@link rest}. */
  get due(): boolean {
    return performance.now() - this.#began > PIECE_MS;
  }

  /**
   * Resolves when the computation may continue.
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
