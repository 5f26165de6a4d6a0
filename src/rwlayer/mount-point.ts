/**
 * The mount point of one RW layer, and the kernel's mount there. The caller holds the RW layer's lock.
 */
import { isSystemError, LayerstackError } from '../core/errors.ts';
import { mountState } from '../system/mounts.ts';
import { call, native, type BatchStep } from '../system/native.ts';
import type { Root } from '../system/root.ts';
import type { Marker } from '../system/session.ts';
import { hasDirectory, statEntry } from '../system/store-files.ts';
import type { Lowers } from './lowers.ts';
import { dropCountSteps } from './mount-count.ts';
import type { RwLayer } from './rwlayer.ts';

export class MountPoint {
  readonly #root: Root;
  readonly #layer: RwLayer;
  /** The path of the root file system while it is mounted. */
  readonly path: string;

  constructor(root: Root, layer: RwLayer) {
    this.#root = root;
    this.#layer = layer;
    this.path = root.layout.at(root.layout.overlay(layer.mountId, 'merged'));
  }

  /**
   * Returns whether the root file system is mounted. `merged` exists only while it is mounted, so one system
   * call is enough when it is missing.
   * @throws {@link LayerstackError} ERR_STORE_CORRUPT when another file system is mounted there.
   */
  async isMounted(): Promise<boolean> {
    if (statEntry(this.path) === undefined) return false;
    const state = await mountState(this.path);
    if (state === 'other')
      throw new LayerstackError(
        'ERR_STORE_CORRUPT',
        `a file system other than an overlay is mounted at ${this.path}: unmount it first`,
        { id: this.#layer.key, path: this.path },
      );
    return state === 'overlay';
  }

  makeStep(): BatchStep {
    const path = this.#root.layout.overlay(this.#layer.mountId, 'merged');
    return { op: 'mkdir', path, mode: 0o700, exist: true };
  }

  /** `lowers`: those that the RW layer's `lower` names, if not given. */
  mountStep(lowers: Pick<Lowers, 'list' | 'packed'> | undefined, readOnly: boolean): BatchStep {
    const { layout, caps } = this.#root;
    const { mountId } = this.#layer;
    return {
      op: 'mount',
      mount: {
        root: layout.at(layout.overlay2),
        target: this.path,
        ...(lowers ? { lowers: lowers.list } : { lowers: [], lowerFile: `${mountId}/lower` }),
        upper: `${mountId}/diff`,
        work: `${mountId}/work`,
        readOnly,
        method: caps.mountMethod,
        // Without `xino`, a file's inode number would change when it is copied up from a packed layer.
        options: lowers?.packed ? [...caps.overlayOptions, 'xino=on'] : caps.overlayOptions,
      },
    };
  }

  /**
   * Unmounts, and removes the files that the mount leaves beside it. If they cannot be removed, this is
   * logged, and the unmount still counts. If the unmount fails, the markers stay.
   * @throws {@link LayerstackError} ERR_CONTAINER_MOUNTED when files in it are in use, unless forced.
   */
  async unmount(force: boolean, markers: readonly Marker[]): Promise<void> {
    const steps: BatchStep[] = [{ op: 'unmount', target: this.path, detach: force }, ...this.#leftovers()];
    try {
      await this.#root.session().during(markers, steps);
    } catch (error) {
      if (hasDirectory(this.path) && (await mountState(this.path)) !== 'none') throw this.#inUse(error);
      await this.#root.aftermath.run('the mount point stays until the next writer', () =>
        this.forget(markers),
      );
    }
  }

  /** Removes the files that a mount leaves beside it, then the markers. */
  async forget(markers: readonly Marker[]): Promise<void> {
    const { layout, log } = this.#root;
    const { mountId, owner } = this.#layer;
    const session = this.#root.session();
    const steps = this.#leftovers();
    try {
      await session.unmark(markers, steps);
    } catch (error) {
      if (isSystemError(error, 'EBUSY')) {
        // Another mount namespace still has the mount. This is harmless: the next mount uses the directory
        // again.
        log.warn('a mount point is in use in another mount namespace, so it stays', {
          owner,
          path: this.path,
        });
        await session.unmark(markers, steps.slice(1));
        return;
      }
      if (!isSystemError(error, 'ENOTEMPTY')) throw error;
      // A program wrote below the mount point after the unmount. These files are in no layer, and the next
      // mount would hide them.
      log.warn('removing files that were written below a mount point after its unmount', { owner });
      await call(native.removeTree(layout.root, layout.overlay(mountId, 'merged')));
      await session.unmark(markers, steps);
    }
  }

  #inUse(error: unknown): unknown {
    if (!isSystemError(error, 'EBUSY')) return error;
    const { key, owner } = this.#layer;
    return new LayerstackError(
      'ERR_CONTAINER_MOUNTED',
      `the root file system of ${owner} is in use (a process works in ${this.path}, or something ` +
        `is mounted below it): stop it, or force the unmount`,
      { id: key, path: this.path, cause: error },
    );
  }

  /** Returns the steps that remove the leftovers. The first one removes the mount point. */
  #leftovers(): BatchStep[] {
    const { layout } = this.#root;
    const { mountId } = this.#layer;
    return [
      { op: 'rmdir', path: layout.overlay(mountId, 'merged'), missing: true },
      ...dropCountSteps(layout, mountId),
    ];
  }
}
