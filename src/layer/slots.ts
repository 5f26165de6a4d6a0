/**
 * A semaphore whose holders can lend their slots. It bounds the tasks that run at once, first come first
 * served. A task that waits for bytes of a stalled or slow upload lends its slot to a waiting task. When the
 * bytes arrive, it takes the slot back, before new tasks. A started task costs memory even while it waits, so
 * the lent slots are bounded too: at the bound, a holder keeps its slot.
 */
import { abortError, throwIfAborted } from '../core/abort.ts';

/** Waits for a source are usually shorter. A longer wait is a stall. */
const PATIENCE_MS = 50;
/** The rate at which later bytes make up for past waits. A slower source lends its slot whenever it waits. */
const FAIR_BYTES_PER_MS = 4096;

interface Waiter {
  readonly go: () => void;
}

/** A slot that is held. */
export interface Slot {
  /** Yields the same chunks, and lends the slot while the source stalls. */
  lendWhileWaiting(source: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array>;
  /** A second call does nothing. */
  release(): void;
}

export class Slots {
  #free: number;
  #lendable: number;
  /** The tasks that take a lent slot back. They come before {@link #waiting}. */
  readonly #returning: Waiter[] = [];
  readonly #waiting: Waiter[] = [];

  /** @param lendable - how many slots may be lent at a time */
  constructor(count: number, lendable = 0) {
    this.#free = count;
    this.#lendable = lendable;
  }

  /**
   * Runs `work` when a slot is free.
   * @throws {@link LayerstackError} ERR_ABORTED when `signal` fires during the wait; the errors of `work`.
   */
  async run<T>(signal: AbortSignal | undefined, work: (slot: Slot) => Promise<T>): Promise<T> {
    const slot = await this.take(signal);
    try {
      return await work(slot);
    } finally {
      slot.release();
    }
  }

  /**
   * Resolves with a slot when one is free. The caller releases it.
   * @throws {@link LayerstackError} ERR_ABORTED when `signal` fires during the wait.
   */
  async take(signal: AbortSignal | undefined): Promise<Slot> {
    await this.#take(this.#waiting, signal);
    let state: 'held' | 'lent' | 'released' = 'held';
    const over = new AbortController();
    const stop = signal ? AbortSignal.any([signal, over.signal]) : over.signal;
    const lend = (): void => {
      if (state !== 'held' || this.#lendable === 0) return;
      state = 'lent';
      this.#lendable--;
      this.#give();
    };
    const takenBack = (): void => {
      state = 'held';
      this.#lendable++;
    };
    const takeBack = async (): Promise<void> => {
      if (state === 'lent') await this.#take(this.#returning, stop, takenBack);
    };
    return {
      lendWhileWaiting: (source) => lendWhileWaiting(source, lend, takeBack),
      release: () => {
        // Ends a pending attempt to take the slot back.
        over.abort();
        if (state === 'held') this.#give();
        if (state === 'lent') this.#lendable++;
        state = 'released';
      },
    };
  }

  /** @param taken - is called as soon as the slot is taken, before other code can run */
  async #take(queue: Waiter[], signal: AbortSignal | undefined, taken?: () => void): Promise<void> {
    throwIfAborted(signal);
    if (this.#free > 0) {
      --this.#free;
      taken?.();
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const waiter: Waiter = {
        go: () => {
          signal?.removeEventListener('abort', abort);
          taken?.();
          resolve();
        },
      };
      const abort = (): void => {
        queue.splice(queue.indexOf(waiter), 1);
        reject(abortError(signal as AbortSignal));
      };
      signal?.addEventListener('abort', abort, { once: true });
      queue.push(waiter);
    });
  }

  #give(): void {
    const next = this.#returning.shift() ?? this.#waiting.shift();
    if (next) next.go();
    else ++this.#free;
  }
}

async function* lendWhileWaiting(
  source: AsyncIterable<Uint8Array>,
  lend: () => void,
  takeBack: () => Promise<void>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const iterator = source[Symbol.asyncIterator]();
  // Waiting time that later bytes have not made up for yet.
  let debt = 0;
  try {
    for (;;) {
      const asked = performance.now();
      const patience = setTimeout(lend, Math.max(0, PATIENCE_MS - debt));
      let next: IteratorResult<Uint8Array>;
      try {
        next = await iterator.next();
      } finally {
        clearTimeout(patience);
      }
      const waited = performance.now() - asked;
      await takeBack();
      if (next.done === true) return;
      debt = Math.max(0, Math.min(PATIENCE_MS, debt + waited) - next.value.length / FAIR_BYTES_PER_MS);
      yield next.value;
    }
  } finally {
    // Not awaited: a source that waits for its own source would block this function too.
    iterator.return?.()?.catch(() => undefined);
  }
}
