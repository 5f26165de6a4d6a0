/**
 * Which bytes of a download are kept for the next pull to resume from. Keeping costs a second write of all bytes (measured: a
 * tenth of the processor time of a pull from a registry near by, and its disk twice), and saves the time that fetching them
 * has taken. So what comes slowly is kept from the first byte on, and what comes fast not before it has been waited for
 * {@link RECORD_AFTER_MS}: a pull that is stopped loses no more than that. Only waiting counts: bytes that lie ready while the
 * machine is busy extracting others come fast.
 */
import type { Partial } from '../../system/partials.ts';

/** So many first bytes are held in memory, to see how fast they come. */
const JUDGED_BYTES = 4 * 1024 * 1024;
/** Slower than this they come slowly: 20 MiB/s. */
const JUDGED_MS = 200;
export const RECORD_AFTER_MS = 5000;

export class PartialRecorder {
  readonly #partial: Partial;
  #state: 'judging' | 'fast' | 'recording' | 'over';
  #held: Uint8Array[] = [];
  #heldBytes = 0;

  constructor(partial: Partial) {
    this.#partial = partial;
    this.#state = partial.size > 0 ? 'recording' : 'judging';
  }

  /**
   * Takes the bytes that follow those it had before.
   * @param at the first one's place in the blob
   * @param waitedMs how long all bytes so far were waited for
   */
  async add(chunk: Uint8Array, at: number, waitedMs: number): Promise<void> {
    if (this.#state === 'recording') {
      await this.#partial.append(chunk);
    } else if (this.#state === 'judging') {
      this.#held.push(chunk);
      this.#heldBytes += chunk.length;
      if (waitedMs > JUDGED_MS) await this.flush();
      else if (this.#heldBytes >= JUDGED_BYTES) {
        this.#state = 'fast';
        this.#held = [];
      }
    } else if (this.#state === 'fast' && waitedMs > RECORD_AFTER_MS) {
      this.#state = 'recording';
      await this.#partial.begin(at);
      await this.#partial.append(chunk);
    }
  }

  /** No more will come, or they come slowly: writes what is held. */
  async flush(): Promise<void> {
    if (this.#state !== 'judging') return;
    this.#state = 'recording';
    if (this.#held.length === 0) return;
    await this.#partial.begin(0);
    for (const chunk of this.#held.splice(0)) await this.#partial.append(chunk);
  }

  /** Nothing of it is kept, also not of what is to come. */
  async discard(): Promise<void> {
    this.#state = 'over';
    this.#held = [];
    await this.#partial.begin(0);
  }
}
