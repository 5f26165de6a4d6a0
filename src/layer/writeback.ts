/**
 * Writes staged files to disk while more are being staged. Publishing must wait until all are written.
 * Without this, the disk would be idle until then (measured: a fifth of the whole time of a load). The disk
 * begins to write large files without it (native/sys/early_writeback), so packed layers do not need it.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { call, native } from '../system/native.ts';
import type { LayerForm } from './stage-options.ts';

/** The delay before the first write. Small layers are published before it. */
const FIRST_MS = 600;
/**
 * The pause between two writes. It lets the file system make large writes. It also limits the waits for the
 * journal: during each sync, processes that create files wait for it (measured: a tenth of a commit).
 */
const PAUSE_MS = 1000;

export class Writeback {
  readonly #stop = new AbortController();
  readonly #done: Promise<void>;

  /**
   * @param form - the form in which layers are staged
   * @param directory - any directory in the store's file system
   * @param onError - receives a failed write. The caller must fail then: the kernel reports the failure only
   *   once, here, and not again to the sync of publishing.
   */
  constructor(form: LayerForm, directory: string, onError: (error: unknown) => void) {
    this.#done = form === 'packed' ? Promise.resolve() : this.#run(directory).catch(onError);
  }

  /** Stops. Resolves when the last write has ended. */
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
