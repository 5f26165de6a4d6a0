/**
 * A semaphore: at most so many at once, first come first served. Who waits for something else meanwhile (a source that
 * has no bytes) may lend his slot.
 */
import { abortError, throwIfAborted } from '../core/abort.ts';

/** A slot that is held. */
export interface Slot {
  /**
   * What `waiting` resolves with. When that takes longer than `patienceMs`, others have the slot until it is there.
   * @throws what `waiting` rejects with; {@link LayerstackError} ERR_ABORTED while waiting to get the slot back.
   */
  lend<T>(waiting: Promise<T>, patienceMs: number): Promise<T>;
  /** Second call: no-op. */
  release(): void;
}

export class Slots {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(count: number) {
    this.#free = count;
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
    await this.#take(signal);
    let held = true;
    let over = false;
    const give = (): void => {
      if (held) this.#give();
      held = false;
    };
    return {
      lend: async (waiting, patienceMs) => {
        const timer = setTimeout(give, patienceMs);
        const value = await waiting.finally(() => clearTimeout(timer));
        if (held || over) return value;
        await this.#take(signal);
        held = true;
        if (over) give();
        return value;
      },
      release: () => {
        over = true;
        give();
      },
    };
  }

  async #take(signal: AbortSignal | undefined): Promise<void> {
    throwIfAborted(signal);
    if (this.#free > 0) {
      --this.#free;
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const turn = (): void => {
        signal?.removeEventListener('abort', abort);
        resolve();
      };
      const abort = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(turn), 1);
        reject(abortError(signal as AbortSignal));
      };
      signal?.addEventListener('abort', abort, { once: true });
      this.#waiting.push(turn);
    });
  }

  #give(): void {
    const next = this.#waiting.shift();
    if (next) next();
    else ++this.#free;
  }
}

/** The same chunks; while their source has none for longer than `patienceMs`, others have the slot. */
export async function* lending(
  source: AsyncIterable<Uint8Array>,
  slot: Slot,
  patienceMs: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  const iterator = source[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await slot.lend(iterator.next(), patienceMs);
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    await iterator.return?.();
  }
}
