/**
 * Removing a container: first its `config.v2.json` goes, without which there is no container, then in dockerd's order
 * (reference section 4) its RW layer, init layer and `mounts/<id>`. Of the layers only the directory is renamed, to
 * `…-removing`; so all of it is one batch of a few dozen system calls however much the container holds, and the trees are
 * deleted afterwards. Markers name every part before the batch begins: whatever a crash or an error behind the first step leaves,
 * the next writer removes. The name is given back last: one without its container counts as free, but a container without its
 * name could not be found by it.
 */
import { LayerstackError } from '../core/errors.ts';
import type { BatchStep } from '../system/native.ts';
import type { Root } from '../system/root.ts';
import type { Marker, Session } from '../system/session.ts';
import type { ContainerMounts } from './mount.ts';
import { dropCountSteps } from './mount-count.ts';
import type { NameIndex } from './name-index.ts';
import { readText, statEntry } from '../system/store-files.ts';
import { readContainer, type Container } from './record.ts';

export interface RemoveOptions {
  /** Unmounts a mounted container first. Default false. */
  readonly force?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

export class ContainerRemover {
  readonly #root: Root;
  readonly #mounts: ContainerMounts;
  readonly #names: NameIndex;
  readonly #running = new Set<Promise<void>>();

  constructor(root: Root, mounts: ContainerMounts, names: NameIndex) {
    this.#root = root;
    this.#mounts = mounts;
    this.#names = names;
  }

  /** @see ContainerStore.remove */
  async remove({ id, name }: Container, { force = false, signal }: RemoveOptions): Promise<boolean> {
    const session = this.#root.session();
    const { layout } = this.#root;
    // The name's too: who claims the name as soon as the container is gone must not lose it to the last step.
    const keys = [id, `name:${name}`];
    await using lock = await this.#root.locks.acquireAll('containers', keys, signal ? { signal } : {});
    void lock;
    const container = readContainer(layout, id);
    if (!container) return false;
    if (await this.#mounts.isMounted(container)) {
      if (!force)
        throw new LayerstackError(
          'ERR_CONTAINER_MOUNTED',
          `container ${container.name} is mounted: unmount it first, or force the removal`,
          { id, path: this.#mounts.path(container) },
        );
      await this.#mounts.unmountLocked(container, true);
    }
    const overlays = [container.mountId, ...(container.initId === undefined ? [] : [container.initId])];
    const markers: Marker[] = [
      `container.${id}`,
      ...overlays.map((overlay): Marker => `overlay2.${overlay}`),
      ...overlays.map((overlay): Marker => `overlay2.${removing(overlay)}`),
    ];
    const rest: BatchStep[] = [
      ...overlays.flatMap((overlay) => this.#moveAway(overlay)),
      ...(['mount-id', 'init-id', 'parent'] as const).map((file): BatchStep => ({
        op: 'unlink',
        path: layout.mount(id, file),
        missing: true,
      })),
      { op: 'rmdir', path: layout.mount(id), missing: true },
      ...dropCountSteps(layout, container.mountId),
      // Where it was renamed meanwhile, the new name's lock is not held, and its link is left: it counts as free.
      ...(container.name === name ? this.#names.releaseSteps(name, id) : []),
    ];
    const isAway = await session.mark(
      markers,
      [{ op: 'unlink', path: layout.container(id, 'config.v2.json'), missing: true }],
      { steps: rest, otherwise: `what container ${name} had stays until the next writer` },
    );
    if (!isAway) return true;
    const trees = [...overlays.map((overlay) => layout.overlay(removing(overlay))), layout.container(id)];
    this.#deleteLater(session, id, markers, trees);
    return true;
  }

  /** Waits for every deletion that was begun. */
  async settle(): Promise<void> {
    await Promise.all(this.#running);
  }

  /** Steps that take an overlay2 directory out of use; none where it is gone already. */
  #moveAway(overlay: string): BatchStep[] {
    const { layout } = this.#root;
    const directory = layout.overlay(overlay);
    const link = readText(layout.at(layout.overlay(overlay, 'link')))?.trim();
    if (link === undefined && statEntry(layout.at(directory)) === undefined) return [];
    return [
      { op: 'rename', from: directory, to: layout.overlay(removing(overlay)) },
      ...(link !== undefined && /^[A-Z2-7]{26}$/.test(link)
        ? [{ op: 'unlink', path: layout.link(link), missing: true } as const]
        : []),
    ];
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

function removing(name: string): string {
  return `${name}-removing`;
}
