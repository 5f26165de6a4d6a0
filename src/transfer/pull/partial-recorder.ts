/**
 * Decides which bytes of a download are kept, so that the next pull can resume. Keeping costs a second write
 * of all bytes (measured: a tenth of the processor time of a pull from a nearby registry, and twice its disk
 * writes), and saves the time of fetching them again. So slow bytes are kept from the first one on. Fast
 * bytes are kept once they have been waited for {@link RECORD_AFTER_MS}: a pull that is stopped loses no more
 * than that. Only waiting counts: bytes that are ready while the machine is busy with extraction count as
 * fast.
 */
import type { Partial } from '../../system/partials.ts';

/** Number of first bytes that are held in memory to measure their speed. */
const JUDGED_BYTES = 4 * 1024 * 1024;
/** If the first bytes take longer than this, they count as slow: 20 MiB/s. */
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
   * Takes the next bytes.
   * @param at offset of the first byte in the blob
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

  /** Writes the bytes in memory, because no more bytes come, or they come slowly. */
  async flush(): Promise<void> {
    if (this.#state !== 'judging') return;
    this.#state = 'recording';
    if (this.#held.length === 0) return;
    await this.#partial.begin(0);
    for (const chunk of this.#held.splice(0)) await this.#partial.append(chunk);
  }

  /** Removes all recorded bytes, and records no more. */
  async discard(): Promise<void> {
    this.#state = 'over';
    this.#held = [];
    await this.#partial.begin(0);
  }
}
