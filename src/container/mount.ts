/**
 * The root file system of a container, mounted at `overlay2/<mount-id>/merged` as dockerd mounts it (reference section
 * 9). A mount belongs to nobody: it survives the process, is counted across processes (mount-count.ts), and is
 * taken away with the last count. After a crash or reboot whatever is found is taken as it is: a mount without a
 * count counts as one, a count without a mount as none, and a left-over `merged` or `work/work` is used again. Only
 * uses of a single operation ({@link ContainerMounts.mountForOperation}) are marked in the session, and given back by the next writer if this one dies.
 */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { isSystemError, LayerstackError } from '../core/errors.ts';
import { flatLower } from '../layer/flat.ts';
import type { LayerStore } from '../layer/store.ts';
import { mountOverlay, mountState, unmount } from '../system/mounts.ts';
import { call, native, type BatchStep } from '../system/native.ts';
import { settleDead } from '../system/reconcile.ts';
import type { Root } from '../system/root.ts';
import type { Marker } from '../system/session.ts';
import {
  dropCountStep,
  firstCountSteps,
  nextCountSteps,
  readMountCount,
  type MountCount,
} from './mount-count.ts';
import { readText } from '../system/read-text.ts';
import { readContainer, type Container } from './record.ts';

export interface MountOptions {
  /** Nothing can be written through this mount. Default false. */
  readonly readOnly?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface UnmountOptions {
  /** Whatever the count, and even if files are in use (then the kernel lets go when they are closed). */
  readonly force?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** One use of a mounted root file system. It outlives the process unless it is unmounted. */
export interface Mount extends AsyncDisposable {
  readonly containerId: string;
  /** Absolute path of the root file system. */
  readonly path: string;
  /** False also where a read-only mount was asked for and a writable one was there already. */
  readonly readOnly: boolean;
  /** Gives this use back; the last one unmounts. Second call: no-op. */
  unmount(): Promise<void>;
}

/** Mounts and unmounts the containers of one store. */
export class ContainerMounts {
  readonly #root: Root;
  readonly #layers: LayerStore;

  constructor(root: Root, layers: LayerStore) {
    this.#root = root;
    this.#layers = layers;
  }

  /** Where the root file system appears. */
  path(container: Container): string {
    const { layout } = this.#root;
    return layout.at(layout.overlay(container.mountId, 'merged'));
  }

  /** Whether the root file system is mounted. */
  async isMounted(container: Container): Promise<boolean> {
    return (await this.#find(container)) === 'overlay';
  }

  /** The mount that is there, without adding a use; undefined where there is none. */
  async mounted(container: Container): Promise<Pick<Mount, 'path' | 'readOnly'> | undefined> {
    if (!(await this.isMounted(container))) return undefined;
    const count = readMountCount(this.#root.layout, container.mountId);
    return { path: this.path(container), readOnly: count?.readOnly ?? false };
  }

  /**
   * Mounts the root file system, or adds a use to the mount that is there.
   * @throws {@link LayerstackError} ERR_CONTAINER_NOT_FOUND when it was removed meanwhile,
   *   ERR_STORE_READ_ONLY when the store is open read-only, ERR_CONTAINER_MOUNTED
   *   when it is mounted read-only and shall be writable, ERR_STORE_CORRUPT when a layer directory is missing.
   */
  async mount(container: Container, { readOnly = false, signal }: MountOptions = {}): Promise<Mount> {
    this.#root.session();
    await using lock = await this.#lock(container, signal);
    void lock;
    const { layout } = this.#root;
    if ((await this.#find(container)) === 'none') {
      try {
        await this.#mountOverlay(container, readOnly, signal);
      } catch (error) {
        throw this.#unlessRemoved(container, error);
      }
      return this.#handle(container, readOnly);
    }
    const before = readMountCount(layout, container.mountId) ?? { count: 1, readOnly: false };
    if (before.readOnly && !readOnly)
      throw new LayerstackError(
        'ERR_CONTAINER_MOUNTED',
        `container ${container.name} is mounted read-only: unmount it before mounting it writable`,
        { id: container.id, path: this.path(container) },
      );
    await this.#count(container, { ...before, count: before.count + 1 });
    return this.#handle(container, before.readOnly);
  }

  /**
   * {@link mount} for one operation of this process, with which it shall end even if the process dies: then the next writer
   * gives it back.
   */
  async mountForOperation(container: Container, options: MountOptions = {}): Promise<Mount> {
    const session = this.#root.session();
    const mount = await this.mount(container, options);
    // Marked after it is taken, unmarked before it is given back: what a death in between leaves is a use too many, never one
    // too few of somebody else's.
    const marker: Marker = `held.${container.id}.${randomBytes(8).toString('hex')}`;
    try {
      await session.mark([marker]);
    } catch (error) {
      await mount.unmount();
      throw error;
    }
    const unmount = async (): Promise<void> => {
      await session.unmark([marker]);
      await mount.unmount();
    };
    return { ...mount, unmount, [Symbol.asyncDispose]: unmount };
  }

  /** Gives back what operations of dead writers had mounted. What cannot be unmounted stays, and is said. */
  async resume(): Promise<void> {
    const { layout, log } = this.#root;
    await settleDead(layout, 'held', async (use) => {
      const container = readContainer(layout, use.split('.', 1)[0] ?? '');
      // Without a count it is of before a reboot, or somebody has unmounted it by force.
      if (container === undefined || readMountCount(layout, container.mountId) === undefined) return;
      try {
        await this.unmount(container);
      } catch (error) {
        log.warn('a mount that a dead writer had for a while stays', {
          name: container.name,
          error: String(error),
        });
      }
    });
  }

  /**
   * Gives back one use; the last one unmounts. Resolves with the uses that are left; unmounting what is not mounted
   * is a no-op.
   * @throws {@link LayerstackError} ERR_CONTAINER_MOUNTED when files in it are in use, unless forced.
   */
  async unmount(container: Container, { force = false, signal }: UnmountOptions = {}): Promise<number> {
    this.#root.session();
    await using lock = await this.#lock(container, signal);
    void lock;
    // Awaited here: the lock is given back when this function returns.
    return await this.unmountLocked(container, force);
  }

  /** {@link unmount} for a caller that holds the container's lock. */
  async unmountLocked(container: Container, force: boolean): Promise<number> {
    const { layout } = this.#root;
    const count = readMountCount(layout, container.mountId);
    if (count && count.count > 1 && !force && (await this.isMounted(container))) {
      await this.#count(container, { ...count, count: count.count - 1 });
      return count.count - 1;
    }
    await this.#unmountOverlay(container, force);
    await this.#forget(container);
    return 0;
  }

  #count(container: Container, count: MountCount): Promise<void> {
    const { layout } = this.#root;
    return call(native.batch(layout.root, nextCountSteps(layout, container.mountId, count)));
  }

  /** `merged` exists only while mounted, so its absence is an answer that costs one system call. */
  async #find(container: Container): Promise<'none' | 'overlay'> {
    const path = this.path(container);
    if (!existsSync(path)) return 'none';
    const state = await mountState(path);
    if (state === 'other')
      throw new LayerstackError(
        'ERR_STORE_CORRUPT',
        `something that is no overlay is mounted at ${path}: unmount it first`,
        { id: container.id, path },
      );
    return state;
  }

  /** The count comes first: one without a mount is none, while a mount without a count could not be told from two. */
  async #mountOverlay(
    container: Container,
    readOnly: boolean,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { layout, caps } = this.#root;
    const { mountId } = container;
    const lowers = await this.#lowers(container, signal);
    await call(
      native.batch(layout.root, [
        { op: 'mkdir', path: layout.overlay(mountId, 'merged'), mode: 0o700, exist: true },
        ...firstCountSteps(layout, mountId, { count: 1, readOnly }),
      ]),
    );
    try {
      await mountOverlay({
        root: layout.at(layout.overlay2),
        target: this.path(container),
        lowers,
        upper: `${mountId}/diff`,
        work: `${mountId}/work`,
        readOnly,
        rung: caps.rung,
        options: caps.overlayOptions,
      });
    } catch (error) {
      await this.#forget(container).catch(() => undefined);
      throw this.#diagnose(container, lowers, error);
    }
  }

  async #unmountOverlay(container: Container, force: boolean): Promise<void> {
    const path = this.path(container);
    try {
      await unmount(path, { detach: force });
    } catch (error) {
      if (isSystemError(error, 'ENOENT')) return;
      if (!isSystemError(error, 'EBUSY')) throw error;
      throw new LayerstackError(
        'ERR_CONTAINER_MOUNTED',
        `the root file system of container ${container.name} is in use (a process works in ${path}, or something ` +
          `is mounted below it): stop it, or force the unmount`,
        { id: container.id, path, cause: error },
      );
    }
  }

  /** The stack below the RW layer, topmost (the init layer) first. */
  async #lowers(container: Container, signal: AbortSignal | undefined): Promise<string[]> {
    const { layout, caps } = this.#root;
    if (caps.rung === 'flat' && container.parent !== undefined)
      return [await flatLower(this.#root, this.#layers, container.initId, container.parent, signal)];
    const path = layout.at(layout.overlay(container.mountId, 'lower'));
    const text = readText(path)?.trim() ?? '';
    if (text === '')
      throw new LayerstackError(
        'ERR_STORE_CORRUPT',
        `the RW layer of container ${container.name} names no layers below it: ${path} is missing or empty`,
        { id: container.id, path },
      );
    return text.split(':');
  }

  /** The kernel says only ENOENT; say which layer it missed. */
  #diagnose(container: Container, lowers: readonly string[], cause: unknown): unknown {
    const { layout } = this.#root;
    if (!isSystemError(cause, 'ENOENT', 'ELOOP', 'ENOTDIR')) return cause;
    const path = lowers
      .map((lower) => layout.at(`${layout.overlay2}/${lower}`))
      .find((each) => !existsSync(each));
    return path === undefined
      ? cause
      : new LayerstackError(
          'ERR_STORE_CORRUPT',
          `container ${container.name} cannot be mounted: its layer ${path} is missing; load its image again`,
          { id: container.id, path, cause },
        );
  }

  /** What is missing of a container that is gone is no damage of the store. */
  #unlessRemoved({ id, name }: Container, error: unknown): unknown {
    if (readContainer(this.#root.layout, id)) return error;
    return new LayerstackError('ERR_CONTAINER_NOT_FOUND', `container ${name} was removed`, {
      id,
      cause: error,
    });
  }

  /** Takes away what a mount leaves beside it. */
  async #forget({ mountId, name }: Container): Promise<void> {
    const { layout, log } = this.#root;
    const merged = layout.overlay(mountId, 'merged');
    const steps: BatchStep[] = [{ op: 'rmdir', path: merged, missing: true }, dropCountStep(layout, mountId)];
    try {
      await call(native.batch(layout.root, steps));
    } catch (error) {
      if (isSystemError(error, 'EBUSY')) {
        // Somebody's mount namespace has it still. It is in nobody's way: the next mount takes it as it is.
        log.warn('a mount point is busy elsewhere: it stays', { name, path: layout.at(merged) });
        await call(native.batch(layout.root, steps.slice(1)));
        return;
      }
      if (!isSystemError(error, 'ENOTEMPTY')) throw error;
      // Somebody wrote where the root file system had been: hidden by the next mount, and in no layer.
      log.warn('files were written below a mount point after its unmount: they are removed', { name });
      await call(native.removeTree(layout.root, merged));
      await call(native.batch(layout.root, steps));
    }
  }

  #handle(container: Container, readOnly: boolean): Mount {
    let unmounted: Promise<unknown> | undefined;
    const unmount = async (): Promise<void> => {
      unmounted ??= this.unmount(container);
      try {
        await unmounted;
      } catch (error) {
        unmounted = undefined; // it is still mounted, and this use still to be given back
        throw error;
      }
    };
    return {
      containerId: container.id,
      path: this.path(container),
      readOnly,
      unmount,
      [Symbol.asyncDispose]: unmount,
    };
  }

  #lock(container: Container, signal: AbortSignal | undefined) {
    return this.#root.locks.acquire('containers', container.id, signal ? { signal } : {});
  }
}
