/**
 * The root file system of a container, mounted at `overlay2/<mount-id>/merged` as dockerd mounts it (reference section
 * 9). A mount belongs to nobody: it survives the process, is counted across processes (mount-count.ts), and is
 * taken away with the last count. After a crash or reboot whatever is found is taken as it is: a mount without a
 * count counts as one, a count without a mount as none, and a left-over `merged` or `work/work` is used again. Uses of a
 * single operation ({@link ContainerMounts.mountForOperation}), and any use while it is taken or given back, are marked in the
 * session under a token that the count names, too: if this process dies, the next writer gives them back.
 */
import { isSystemError, LayerstackError } from '../core/errors.ts';
import { randomName } from '../core/random.ts';
import { flatLower } from '../layer/flat.ts';
import type { LayerStore } from '../layer/store.ts';
import { mountState } from '../system/mounts.ts';
import { call, native, type BatchStep, type OverlayMount } from '../system/native.ts';
import { settleDead } from '../system/reconcile.ts';
import type { Root } from '../system/root.ts';
import type { Marker } from '../system/session.ts';
import {
  dropCountSteps,
  dropNewStep,
  firstCountSteps,
  nextCountSteps,
  readMountCount,
} from './mount-count.ts';
import { dirname, join } from 'node:path';
import { hasDirectory, readLink, readText, statEntry } from '../system/store-files.ts';
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

/** A use that ends with an operation, unless it is kept. */
export interface OperationMount extends Mount {
  /** From now on it outlives the process. */
  keep(): Promise<void>;
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
  async mount(container: Container, options: MountOptions = {}): Promise<Mount> {
    this.#root.session();
    await using lock = await this.#lock(container, options.signal);
    void lock;
    // From its last step on the use is the caller's, and outlives this process.
    const { readOnly } = await this.#take(container, { ...options, outlives: true });
    return this.#handle(container, readOnly, () => this.unmount(container));
  }

  /**
   * {@link mount} for one operation of this process, with which it shall end even if the process dies: then the next writer
   * gives it back. So he does where its `unmount` fails, which is told but not thrown: the operation is done by then.
   */
  async mountForOperation(container: Container, options: MountOptions = {}): Promise<OperationMount> {
    this.#root.session();
    await using lock = await this.#lock(container, options.signal);
    void lock;
    const { token, marker, readOnly } = await this.#take(container, { ...options, outlives: false });
    const release = (): Promise<unknown> =>
      this.#root.aftermath.run(
        `container ${container.name} stays mounted until the next writer`,
        async () => {
          await using again = await this.#lock(container, undefined);
          void again;
          await this.#giveBack(container, token, marker);
        },
      );
    const keep = (): Promise<void> => this.#root.session().unmark([marker]);
    return { ...this.#handle(container, readOnly, release), keep };
  }

  /** Gives back what operations of dead writers had mounted. What cannot be unmounted stays, and is said. */
  async resume(): Promise<void> {
    const { layout, log } = this.#root;
    await settleDead(layout, log, 'held', async (use) => {
      const [id = '', token = ''] = use.split('.', 2);
      const container = readContainer(layout, id);
      if (container === undefined) return;
      await using lock = await this.#lock(container, undefined);
      void lock;
      await this.#giveBack(container, token);
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
    const marker = heldMarker(container, newToken());
    const count = readMountCount(layout, container.mountId);
    if (count && count.count > 1 && !force && (await this.isMounted(container))) {
      const left = { ...count, count: count.count - 1 };
      await this.#root.session().during([marker], nextCountSteps(layout, container.mountId, left));
      return left.count;
    }
    try {
      await this.#unmountLast(container, force, marker);
    } catch (error) {
      // The use stays whose it was.
      await this.#root.session().unmark([marker]);
      throw error;
    }
    return 0;
  }

  /**
   * Takes a use, marked in the session under its token while it is taken, and beyond unless it `outlives` this process. The caller
   * holds the container's lock.
   */
  async #take(
    container: Container,
    { readOnly = false, signal, outlives }: MountOptions & { readonly outlives: boolean },
  ): Promise<{ readonly token: string; readonly marker: Marker; readonly readOnly: boolean }> {
    const { layout } = this.#root;
    const { mountId } = container;
    const token = newToken();
    const marker = heldMarker(container, token);
    const session = this.#root.session();
    if ((await this.#find(container)) === 'none') {
      const lowers = await this.#lowersOf(container, signal).catch((error: unknown) => {
        throw this.#unlessRemoved(container, error);
      });
      // The count comes first: one without a mount is none, while a mount without a count could not be told from two. The token
      // of a use that outlives the process means nothing any more when its marker is gone.
      const steps: BatchStep[] = [
        { op: 'mkdir', path: layout.overlay(mountId, 'merged'), mode: 0o700, exist: true },
        ...firstCountSteps(layout, mountId, { count: 1, readOnly, held: [token] }),
        { op: 'mount', mount: this.#overlayMount(container, lowers, readOnly) },
      ];
      try {
        if (!outlives) await session.mark([marker], steps);
        else if (!(await session.during([marker], steps)))
          await session.mark([], nextCountSteps(layout, mountId, { count: 1, readOnly, held: [] }));
      } catch (error) {
        await this.#giveBack(container, token, marker).catch(() => undefined); // else it stays marked
        throw this.#unlessRemoved(container, this.#diagnose(container, lowers, error));
      }
      return { token, marker, readOnly };
    }
    const before = readMountCount(layout, mountId) ?? { count: 1, readOnly: false, held: [] };
    if (before.readOnly && !readOnly)
      throw new LayerstackError(
        'ERR_CONTAINER_MOUNTED',
        `container ${container.name} is mounted read-only: unmount it before mounting it writable`,
        { id: container.id, path: this.path(container) },
      );
    const count = {
      ...before,
      count: before.count + 1,
      held: outlives ? before.held : [...before.held, token],
    };
    const steps = nextCountSteps(layout, mountId, count);
    try {
      await (outlives ? session.during([marker], steps) : session.mark([marker], steps));
    } catch (error) {
      await this.#giveBack(container, token, marker).catch(() => undefined);
      throw error;
    }
    return { token, marker, readOnly: before.readOnly };
  }

  /**
   * Gives a use back that was taken under a token; the last one unmounts. What is left of one that was begun only, or that is
   * given back already, goes. The caller holds the container's lock.
   */
  async #giveBack(container: Container, token: string, ...markers: Marker[]): Promise<void> {
    const { layout } = this.#root;
    const session = this.#root.session();
    const count = readMountCount(layout, container.mountId);
    const isHeld = count?.held.includes(token) === true;
    if ((await this.#find(container)) === 'none') return this.#forget(container, ...markers);
    if (isHeld && count.count > 1) {
      const left = { ...count, count: count.count - 1, held: count.held.filter((each) => each !== token) };
      return session.unmark(markers, nextCountSteps(layout, container.mountId, left));
    }
    // Else somebody has unmounted it by force, and mounted it again.
    if (!isHeld) return session.unmark(markers, [dropNewStep(layout, container.mountId)]);
    await this.#unmountLast(container, false, ...markers);
  }

  /** `merged` exists only while mounted, so its absence is an answer that costs one system call. */
  async #find(container: Container): Promise<'none' | 'overlay'> {
    const path = this.path(container);
    if (statEntry(path) === undefined) return 'none';
    const state = await mountState(path);
    if (state === 'other')
      throw new LayerstackError(
        'ERR_STORE_CORRUPT',
        `something that is no overlay is mounted at ${path}: unmount it first`,
        { id: container.id, path },
      );
    return state;
  }

  #overlayMount(container: Container, lowers: readonly string[], readOnly: boolean): OverlayMount {
    const { layout, caps } = this.#root;
    return {
      root: layout.at(layout.overlay2),
      target: this.path(container),
      lowers,
      upper: `${container.mountId}/diff`,
      work: `${container.mountId}/work`,
      readOnly,
      rung: caps.rung,
      options: caps.overlayOptions,
    };
  }

  /**
   * Unmounts, and takes away what the mount has left beside it. What cannot be taken away is told: it is unmounted then. Where it
   * cannot be unmounted the markers stay.
   */
  async #unmountLast(container: Container, force: boolean, ...markers: Marker[]): Promise<void> {
    const session = this.#root.session();
    const target = this.path(container);
    try {
      await session.during(markers, [
        { op: 'unmount', target, detach: force },
        ...this.#leftovers(container),
      ]);
    } catch (error) {
      if (hasDirectory(target) && (await mountState(target)) !== 'none') throw this.#inUse(container, error);
      await this.#root.aftermath.run('the mount point stays until the next writer', () =>
        this.#forget(container, ...markers),
      );
    }
  }

  #inUse(container: Container, error: unknown): unknown {
    if (!isSystemError(error, 'EBUSY')) return error;
    const path = this.path(container);
    return new LayerstackError(
      'ERR_CONTAINER_MOUNTED',
      `the root file system of container ${container.name} is in use (a process works in ${path}, or something ` +
        `is mounted below it): stop it, or force the unmount`,
      { id: container.id, path, cause: error },
    );
  }

  /** The stack below the RW layer, topmost (the init layer) first. */
  async #lowersOf(container: Container, signal: AbortSignal | undefined): Promise<string[]> {
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
      .find((each) => !hasDirectory(contentOf(each)));
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

  /** Takes away what a mount leaves beside it, and the markers behind it. */
  async #forget(container: Container, ...markers: Marker[]): Promise<void> {
    const { layout, log } = this.#root;
    const session = this.#root.session();
    const steps = this.#leftovers(container);
    try {
      await session.unmark(markers, steps);
    } catch (error) {
      if (isSystemError(error, 'EBUSY')) {
        // Somebody's mount namespace has it still. It is in nobody's way: the next mount takes it as it is.
        log.warn('a mount point is busy elsewhere: it stays', {
          name: container.name,
          path: this.path(container),
        });
        await session.unmark(markers, steps.slice(1));
        return;
      }
      if (!isSystemError(error, 'ENOTEMPTY')) throw error;
      // Somebody wrote where the root file system had been: hidden by the next mount, and in no layer.
      log.warn('files were written below a mount point after its unmount: they are removed', {
        name: container.name,
      });
      await call(native.removeTree(layout.root, layout.overlay(container.mountId, 'merged')));
      await session.unmark(markers, steps);
    }
  }

  #leftovers({ mountId }: Container): BatchStep[] {
    const { layout } = this.#root;
    return [
      { op: 'rmdir', path: layout.overlay(mountId, 'merged'), missing: true },
      ...dropCountSteps(layout, mountId),
    ];
  }

  #handle(container: Container, readOnly: boolean, release: () => Promise<unknown>): Mount {
    let unmounted: Promise<unknown> | undefined;
    const unmount = async (): Promise<void> => {
      unmounted ??= release();
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

function newToken(): string {
  return randomName(8).toString('hex');
}

function heldMarker(container: Container, token: string): Marker {
  return `held.${container.id}.${token}`;
}

/** The directory that a lower is: a short name leads to it. */
function contentOf(lower: string): string {
  const target = readLink(lower);
  return target === undefined ? lower : join(dirname(lower), target);
}
