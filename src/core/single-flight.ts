/**
 * Shares work that several callers request at the same time: it runs once, and all of them get its result.
 */
import { abortError, throwIfAborted } from './abort.ts';

interface Flight<T> {
  readonly result: Promise<T>;
  readonly abort: AbortController;
  waiting: number;
}

export class SingleFlight<T> {
  readonly #flights = new Map<string, Flight<T>>();

  /**
   * Resolves as the `work` of this key does. The signal of the work fires when all waiting callers have
   * aborted.
   * @throws {@link LayerstackError} ERR_ABORTED as soon as `signal` fires; what `work` rejects with.
   */
  async run(key: string, work: (signal: AbortSignal) => Promise<T>, signal?: AbortSignal): Promise<T> {
    throwIfAborted(signal);
    const flight = this.#flights.get(key) ?? this.#start(key, work);
    flight.waiting++;
    let leave: (() => void) | undefined;
    try {
      return await Promise.race([
        flight.result,
        new Promise<never>((_, reject) => {
          leave = (): void => reject(abortError(signal as AbortSignal));
          signal?.addEventListener('abort', leave, { once: true });
        }),
      ]);
    } finally {
      if (leave) signal?.removeEventListener('abort', leave);
      if (--flight.waiting === 0) {
        if (this.#flights.get(key) === flight) this.#flights.delete(key);
        flight.abort.abort(new Error('all callers have stopped waiting'));
      }
    }
  }

  #start(key: string, work: (signal: AbortSignal) => Promise<T>): Flight<T> {
    const abort = new AbortController();
    const flight: Flight<T> = { result: work(abort.signal), abort, waiting: 0 };
    this.#flights.set(key, flight);
    const ended = (): void => {
      if (this.#flights.get(key) === flight) this.#flights.delete(key);
    };
    flight.result.then(ended, ended);
    return flight;
  }
}
