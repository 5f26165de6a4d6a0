/**
 * Brings what is staged to disk while more is being staged. Publishing must wait for all of it; without this the kernel
 * would begin only then, and the disk would have idled until then (measured: a fifth of the whole time of a load).
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { call, native } from '../system/native.ts';

/** Small layers are published before the first. */
const FIRST_MS = 600;
/** Gives the file system time to make large writes; and each time whoever makes files waits for the journal (measured: a tenth of a commit). */
const PAUSE_MS = 1000;

export class Writeback {
  readonly #stop = new AbortController();
  readonly #done: Promise<void>;

  /**
   * @param directory any of the store's file system
   * @param onError is told of a failed write. It fails the whole: the kernel reports it once, here, and not to publishing.
   */
  constructor(directory: string, onError: (error: unknown) => void) {
    this.#done = this.#run(directory).catch(onError);
  }

  /** Resolves when nothing is under way any more. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#done;
  }

  async #run(directory: string): Promise<void> {
    const { signal } = this.#stop;
    for (let pause = FIRST_MS; ; pause = PAUSE_MS) {
      await sleep(pause, undefined, { signal, ref: false }).catch(() => undefined);
      if (signal.aborted) return;
      await call(native.batch(directory, [{ op: 'syncfs', path: '.' }]));
    }
  }
}
