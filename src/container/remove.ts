/**
 * Removes a container. One batch removes its `config.v2.json`, without which the container does not exist,
 * then its RW layer (rwlayer/remove.ts). Its trees are deleted afterwards. Markers name every part before the
 * batch begins: if a crash or an error follows the first step, the next writer removes the rest. The name is
 * released last: a name without its container counts as free, but a container without its name could not be
 * found by it.
 */
import { LayerstackError } from '../core/errors.ts';
import type { RwLayerStore } from '../rwlayer/store.ts';
import type { BatchStep } from '../system/native.ts';
import type { Root } from '../system/root.ts';
import type { Marker, Session } from '../system/session.ts';
import type { NameIndex } from './name-index.ts';
import { readContainer, rwLayerOf, type Container } from './record.ts';

export interface RemoveOptions {
  /** Unmounts a mounted container first. Default false. */
  readonly force?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

export class ContainerRemover {
  readonly #root: Root;
  readonly #rwLayers: RwLayerStore;
  readonly #names: NameIndex;
  readonly #running = new Set<Promise<void>>();

  constructor(root: Root, rwLayers: RwLayerStore, names: NameIndex) {
    this.#root = root;
    this.#rwLayers = rwLayers;
    this.#names = names;
  }

  /** @see ContainerStore.remove */
  async remove({ id, name }: Container, { force = false, signal }: RemoveOptions): Promise<boolean> {
    const session = this.#root.session();
    const { layout } = this.#root;
    // The name is locked too: otherwise a container could claim the name as soon as this one is removed, and
    // the last step would take the name from it.
    const keys = [id, `name:${name}`];
    await using _lock = await this.#root.locks.acquireAll('containers', keys, { signal });
    const container = readContainer(layout, id);
    if (!container) return false;
    const layer = rwLayerOf(container);
    if (await this.#rwLayers.isMounted(layer)) {
      if (!force)
        throw new LayerstackError(
          'ERR_CONTAINER_MOUNTED',
          `container ${container.name} is mounted: unmount it first, or force the removal`,
          { id, path: this.#rwLayers.mountPath(layer) },
        );
      await this.#rwLayers.unmountLocked(layer, true);
    }
    const removal = this.#rwLayers.removal(layer);
    const markers: Marker[] = [`container.${id}`, ...removal.markers];
    const rest: BatchStep[] = [
      ...removal.steps,
      // If the container was renamed meanwhile, the lock of the new name is not held. Then the link of that
      // name stays, and counts as free.
      ...(container.name === name ? this.#names.releaseSteps(name, id) : []),
    ];
    const isAway = await session.mark(
      markers,
      [{ op: 'unlink', path: layout.container(id, 'config.v2.json'), missing: true }],
      { steps: rest, otherwise: `the files of container ${name} stay until the next writer` },
    );
    if (!isAway) return true;
    this.#deleteLater(session, id, markers, [...removal.trees, layout.container(id)]);
    return true;
  }

  /** Waits for the deletions in the background. */
  async drain(): Promise<void> {
    await Promise.all(this.#running);
  }

  #deleteLater(session: Session, id: string, markers: readonly Marker[], trees: readonly string[]): void {
    const { log } = this.#root;
    const running = (async () => {
      try {
        await session.unmark(
          markers,
          trees.map((path) => ({ op: 'removeTree', path })),
        );
      } catch (error) {
        log.warn('the files of a removed container are left to the next writer', {
          id,
          error: String(error),
        });
      }
    })();
    this.#running.add(running);
    void running.then(() => this.#running.delete(running));
  }
}
