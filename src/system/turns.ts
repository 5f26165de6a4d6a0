/**
 * A queue for shared and exclusive turns inside one process. It serves callers in the order in which they
 * come. Shared callers next to each other have their turn together.
 */
import { abortError } from '../core/abort.ts';

interface Waiter {
  readonly shared: boolean;
  readonly go: () => void;
}

export class Turns {
  #holders = 0;
  #shared = false;
  readonly #waiting: Waiter[] = [];

  /** True when the queue has neither holders nor waiters. */
  get idle(): boolean {
    return this.#holders === 0 && this.#waiting.length === 0;
  }

  /** True when exactly one caller has a turn. */
  get isSingle(): boolean {
    return this.#holders === 1;
  }

  /**
   * Resolves when it is the caller's turn. The caller must then {@link leave}.
   * @throws {@link LayerstackError} ERR_ABORTED when the signal fires first; then the caller must not leave.
   */
  async enter(shared: boolean, signal?: AbortSignal): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const abort = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(waiter), 1);
        reject(abortError(signal as AbortSignal));
        this.#admit();
      };
      const waiter: Waiter = {
        shared,
        go: () => {
          signal?.removeEventListener('abort', abort);
          resolve();
        },
      };
      this.#waiting.push(waiter);
      signal?.addEventListener('abort', abort, { once: true });
      this.#admit();
    });
  }

  /** Takes an exclusive turn if the queue is empty. Then the caller must {@link leave}. */
  tryEnter(): boolean {
    if (!this.idle) return false;
    this.#holders = 1;
    this.#shared = false;
    return true;
  }

  leave(): void {
    this.#holders--;
    this.#admit();
  }

  #admit(): void {
    for (let next = this.#waiting[0]; next && this.#fits(next); next = this.#waiting[0]) {
      this.#waiting.shift();
      this.#holders++;
      this.#shared = next.shared;
      next.go();
    }
  }

  #fits(waiter: Waiter): boolean {
    return this.#holders === 0 || (this.#shared && waiter.shared);
  }
}
