/**
 * A semaphore whose holders can lend their slot out: at most so many at once that have work to do, first come first
 * served. Who waits for bytes that do not come (a stalled or slow upload) lends its slot to whoever waits for one, and
 * takes it back, before newcomers, when the bytes are there. What is begun costs memory even while it waits, so only so many may
 * be lent at a time; beyond that the holder keeps its slot.
 */
import { abortError, throwIfAborted } from '../core/abort.ts';

/** A wait for a source of this length is usual; a longer one is a stall. */
const PATIENCE_MS = 50;
/** A source that brings this much is given its waiting time back: one that is slower lends its slot whenever it waits. */
const FAIR_BYTES_PER_MS = 4096;

interface Waiter {
  readonly go: () => void;
}

/** A slot that was taken. */
export interface Slot {
  /** The same chunks; while the next one is waited for in vain, the slot is lent out. */
  lendWhileWaiting(source: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array>;
  /** Second call: no-op. */
  release(): void;
}

export class Slots {
  #free: number;
  #lendable: number;
  /** Who takes a lent slot back, before {@link #waiting}. */
  readonly #returning: Waiter[] = [];
  readonly #waiting: Waiter[] = [];

  /** @param lendable - how many may be lent out at a time */
  constructor(count: number, lendable = 0) {
    this.#free = count;
    this.#lendable = lendable;
  }

  /**
   * Runs `work` when a slot is free.
   * @throws {@link LayerstackError} ERR_ABORTED when `signal` fires while waiting; else whatever `work` throws.
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
   * A slot, when one is free; release it.
   * @throws {@link LayerstackError} ERR_ABORTED when `signal` fires while waiting.
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
        // Somebody who takes it back just now gives up.
        over.abort();
        if (state === 'held') this.#give();
        if (state === 'lent') this.#lendable++;
        state = 'released';
      },
    };
  }

  /** @param taken - called in the same moment, before anybody else can run */
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
  // Waiting time that no bytes have made good yet.
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
    // Not awaited: a source that waits for its own would keep us waiting too.
    iterator.return?.()?.catch(() => undefined);
  }
}
