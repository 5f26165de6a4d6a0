/** Deletes, in the background, the trees that removals and rollbacks have renamed. */
import type { Root } from '../system/root.ts';
import type { Marker } from '../system/session.ts';

export class Deletions {
  readonly #root: Root;
  readonly #running = new Set<Promise<void>>();

  constructor(root: Root) {
    this.#root = root;
  }

  /**
   * Deletes the trees, then removes the markers. The renames of the trees are on disk before the call. A
   * failure is logged. Then the next writer removes both.
   */
  later(markers: readonly Marker[], trees: readonly string[]): void {
    const running = (async () => {
      try {
        await this.#root
          .session()
          .unmark(markers, [
            { op: 'fsync', path: this.#root.layout.overlay2 },
            ...trees.map((path) => ({ op: 'removeTree', path }) as const),
          ]);
      } catch (error) {
        this.#root.log.warn('renamed files stay until the next writer removes them', {
          error: String(error),
        });
      }
    })();
    this.#running.add(running);
    void running.then(() => this.#running.delete(running));
  }

  /** Waits for all deletions. */
  async drain(): Promise<void> {
    await Promise.all(this.#running);
  }
}
