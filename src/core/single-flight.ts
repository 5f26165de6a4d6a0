/**
 * The same work asked for several times at once is done once: whoever comes while it is under way gets its result.
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
   * What `work` of this key resolves with. Its signal fires when all who wait for it have gone.
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
        flight.abort.abort(new Error('nobody waits for it any more'));
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
