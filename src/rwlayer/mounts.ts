/**
 * Mounts RW layers at `overlay2/<mount-id>/merged`, where dockerd mounts them too. A mount belongs to no
 * process: it survives its process, its uses are counted across processes (mount-count.ts), and the last
 * `unmount` removes it. After a crash or reboot, the next mount accepts the state that it finds: a mount
 * without a count is one use, a count without a mount is none, and a leftover `merged` or `work/work` is used
 * again.
 *
 * Some uses are marked in the session, under a token that is also in the count: those that end with their
 * process ({@link RwLayerMounts.mountForProcess}), and every use while it is taken or given back. If this
 * process dies, the next writer gives them back.
 */
import { isSystemError, LayerstackError } from '../core/errors.ts';
import { randomName } from '../core/random.ts';
import type { LayerStore } from '../layer/store.ts';
import { forEachDeadMarker } from '../system/reconcile.ts';
import type { Root } from '../system/root.ts';
import type { Marker } from '../system/session.ts';
import { areNamed, missingLower, openLowers, type Lowers } from './lowers.ts';
import {
  dropNewStep,
  firstCountSteps,
  nextCountSteps,
  readMountCount,
  uncounted,
  type MountCount,
} from './mount-count.ts';
import { MountPoint } from './mount-point.ts';
import { Replacement } from './replacement.ts';
import type { RwLayer, RwLayerOwners } from './rwlayer.ts';

export interface MountOptions {
  /** Makes the mount read-only. Default false. */
  readonly readOnly?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface UnmountOptions {
  /**
   * Unmounts whatever the count is, and even if files are in use. The kernel then ends the mount when they
   * are closed.
   */
  readonly force?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A root file system that is mounted. */
export interface Mounted {
  /** Absolute path of the root file system. */
  readonly path: string;
  /** False also if a read-only mount was requested, but a writable one existed. */
  readonly readOnly: boolean;
  /**
   * How often a snapshot or a rollback has replaced the mount since it was made. A process that works in the
   * mount of an earlier generation has the sealed files, and cannot write. It has to enter `path` again.
   */
  readonly generation: number;
}

/** One use of a mounted root file system. It outlives the process, unless it is unmounted. */
export interface RwLayerMount extends Mounted, AsyncDisposable {
  /** Gives this use back; the last one unmounts. A second call does nothing. */
  unmount(): Promise<void>;
}

/** A use that ends with this process, unless it is kept. */
export interface ProcessMount extends RwLayerMount {
  /** Lets the use outlive the process. */
  keep(): Promise<void>;
}

/** A use that was taken under a token. */
interface Taken {
  readonly token: string;
  readonly marker: Marker;
  readonly readOnly: boolean;
  readonly generation: number;
}

type TakeOptions = MountOptions & { readonly outlives: boolean };

/** Mounts and unmounts the RW layers of one store. */
export class RwLayerMounts {
  readonly #root: Root;
  readonly #layers: LayerStore;
  readonly #owners: RwLayerOwners;

  constructor(root: Root, layers: LayerStore, owners: RwLayerOwners) {
    this.#root = root;
    this.#layers = layers;
    this.#owners = owners;
  }

  /** @see RwLayerStore.isMounted */
  isMounted(layer: RwLayer): Promise<boolean> {
    return new MountPoint(this.#root, layer).isMounted();
  }

  /** @see RwLayerStore.mounted */
  async mounted(layer: RwLayer): Promise<Mounted | undefined> {
    const point = new MountPoint(this.#root, layer);
    if (!(await point.isMounted())) return undefined;
    const count = readMountCount(this.#root.layout, layer.mountId);
    const { readOnly, generation } = count ?? uncounted();
    return { path: point.path, readOnly, generation };
  }

  /** @see RwLayerStore.replacement */
  async replacement(layer: RwLayer, beside: string): Promise<Replacement | undefined> {
    const point = new MountPoint(this.#root, layer);
    return (await point.isMounted()) ? new Replacement(this.#root, layer, beside) : undefined;
  }

  /** @see RwLayerStore.lowers */
  lowers(layer: RwLayer, signal: AbortSignal | undefined): Promise<Lowers> {
    return openLowers(this.#root, this.#layers, layer, signal);
  }

  /** @see RwLayerStore.mount */
  async mount(layer: RwLayer, options: MountOptions): Promise<RwLayerMount> {
    this.#root.session();
    await using _lock = await this.#lock(layer, options.signal);
    // After the last step, the use belongs to the caller, and outlives this process.
    const taken = await this.#take(layer, { ...options, outlives: true });
    return this.#handle(layer, taken, () => this.unmount(layer, {}));
  }

  /** @see RwLayerStore.mountForProcess */
  async mountForProcess(layer: RwLayer, options: MountOptions): Promise<ProcessMount> {
    this.#root.session();
    await using _lock = await this.#lock(layer, options.signal);
    const taken = await this.#take(layer, { ...options, outlives: false });
    const { token, marker } = taken;
    const release = (): Promise<unknown> =>
      this.#root.aftermath.run(`${layer.owner} stays mounted until the next writer`, async () => {
        await using _again = await this.#lock(layer, undefined);
        await this.#giveBack(layer, token, [marker]);
      });
    const keep = (): Promise<void> => this.#root.session().unmark([marker]);
    return { ...this.#handle(layer, taken, release), keep };
  }

  /** @see RwLayerStore.resume */
  async resume(): Promise<void> {
    const { layout, log } = this.#root;
    await forEachDeadMarker(layout, log, 'held', async (use) => {
      const [key = '', token = ''] = use.split('.', 2);
      const layer = this.#owners.find(key);
      if (layer === undefined) return;
      await using _lock = await this.#lock(layer, undefined);
      await this.#giveBack(layer, token, []);
    });
  }

  /** @see RwLayerStore.unmount */
  async unmount(layer: RwLayer, { force = false, signal }: UnmountOptions): Promise<number> {
    this.#root.session();
    await using _lock = await this.#lock(layer, signal);
    // Awaited here, since the lock is released when this function returns.
    return await this.unmountLocked(layer, force);
  }

  /** Does {@link unmount} for a caller that holds the RW layer's lock. */
  async unmountLocked(layer: RwLayer, force: boolean): Promise<number> {
    const { layout } = this.#root;
    const session = this.#root.session();
    const point = new MountPoint(this.#root, layer);
    const marker = useMarker(layer, newToken());
    const count = readMountCount(layout, layer.mountId);
    if (count && count.count > 1 && !force && (await point.isMounted())) {
      const left = { ...count, count: count.count - 1 };
      await session.during([marker], nextCountSteps(layout, layer.mountId, left));
      return left.count;
    }
    try {
      await point.unmount(force, [marker]);
    } catch (error) {
      // The unmount has failed, so the use stays.
      await session.unmark([marker]);
      throw error;
    }
    return 0;
  }

  /**
   * Takes a use. It is marked in the session under its token while it is taken. The marker stays afterwards,
   * unless the use `outlives` this process. The caller holds the RW layer's lock.
   */
  async #take(layer: RwLayer, options: TakeOptions): Promise<Taken> {
    const { layout } = this.#root;
    const { readOnly = false } = options;
    const point = new MountPoint(this.#root, layer);
    if (!(await point.isMounted())) return this.#takeFirst(layer, point, options);
    const before = readMountCount(layout, layer.mountId) ?? uncounted();
    if (before.readOnly && !readOnly)
      throw new LayerstackError(
        'ERR_CONTAINER_MOUNTED',
        `${layer.owner} is mounted read-only: unmount it before mounting it writable`,
        { id: layer.key, path: point.path },
      );
    return this.#takeNext(layer, before, options.outlives);
  }

  /** Mounts, and counts one use. */
  async #takeFirst(layer: RwLayer, point: MountPoint, options: TakeOptions): Promise<Taken> {
    if (areNamed(this.#root, layer)) {
      try {
        return await this.#mountFirst(layer, point, undefined, options);
      } catch (error) {
        if (!mayBeOutdated(error) || (await point.isMounted())) throw this.#unlessRemoved(layer, error);
        // The second attempt says what is wrong, or finds layers that were packed meanwhile.
        this.#root.log.debug('mounting again', { owner: layer.owner, error: String(error) });
      }
    }
    await using lowers = await openLowers(this.#root, this.#layers, layer, options.signal).catch(
      (error: unknown) => {
        throw this.#unlessRemoved(layer, error);
      },
    );
    try {
      return await this.#mountFirst(layer, point, lowers, options);
    } catch (error) {
      throw this.#unlessRemoved(layer, missingLower(this.#root.layout, layer, lowers.list, error));
    }
  }

  /** Mounts with these lowers, or with those that `lower` names, and counts one use. */
  async #mountFirst(
    layer: RwLayer,
    point: MountPoint,
    lowers: Lowers | undefined,
    { readOnly = false, outlives }: TakeOptions,
  ): Promise<Taken> {
    const { layout } = this.#root;
    const { mountId } = layer;
    const session = this.#root.session();
    const token = newToken();
    const marker = useMarker(layer, token);
    // The count comes first. A count without a mount counts as no use, but a mount without a count could have
    // one use or two. The token of a use that outlives the process is ignored once its marker is removed.
    const steps = [
      point.makeStep(),
      ...firstCountSteps(layout, mountId, { ...uncounted(), readOnly, held: [token] }),
      point.mountStep(lowers, readOnly),
    ];
    try {
      if (!outlives) await session.mark([marker], steps);
      else if (!(await session.during([marker], steps)))
        await session.mark([], nextCountSteps(layout, mountId, { ...uncounted(), readOnly }));
    } catch (error) {
      await this.#giveBack(layer, token, [marker]).catch(() => undefined); // on failure it stays marked
      throw error;
    }
    return { token, marker, readOnly, generation: 0 };
  }

  /** Counts one more use of an existing mount. */
  async #takeNext(layer: RwLayer, before: MountCount, outlives: boolean): Promise<Taken> {
    const session = this.#root.session();
    const token = newToken();
    const marker = useMarker(layer, token);
    const held = outlives ? before.held : [...before.held, token];
    const count = { ...before, count: before.count + 1, held };
    const steps = nextCountSteps(this.#root.layout, layer.mountId, count);
    try {
      await (outlives ? session.during([marker], steps) : session.mark([marker], steps));
    } catch (error) {
      await this.#giveBack(layer, token, [marker]).catch(() => undefined);
      throw error;
    }
    return { token, marker, readOnly: before.readOnly, generation: before.generation };
  }

  /**
   * Gives back a use that was taken under a token; the last one unmounts. If the use was only begun, or is
   * given back already, removes its remains. The caller holds the RW layer's lock.
   */
  async #giveBack(layer: RwLayer, token: string, markers: readonly Marker[]): Promise<void> {
    const { layout } = this.#root;
    const { mountId } = layer;
    const session = this.#root.session();
    const point = new MountPoint(this.#root, layer);
    const count = readMountCount(layout, mountId);
    const isHeld = count?.held.includes(token) === true;
    if (!(await point.isMounted())) return point.forget(markers);
    if (isHeld && (count.count > 1 || count.held.length > 1)) {
      const held = count.held.filter((each) => each !== token);
      // A caller may give back more uses than it took. The mount stays for the uses that are still held.
      const left = { ...count, count: Math.max(count.count - 1, held.length), held };
      return session.unmark(markers, nextCountSteps(layout, mountId, left));
    }
    // Without the token, another process has unmounted by force, and mounted again.
    if (!isHeld) return session.unmark(markers, [dropNewStep(layout, mountId)]);
    await point.unmount(false, markers);
  }

  /** Returns the error. For a removed owner, replaces it: then missing files are not damage of the store. */
  #unlessRemoved({ key, owner }: RwLayer, error: unknown): unknown {
    if (this.#owners.find(key)) return error;
    return new LayerstackError('ERR_CONTAINER_NOT_FOUND', `${owner} was removed`, { id: key, cause: error });
  }

  #handle(layer: RwLayer, taken: Taken, release: () => Promise<unknown>): RwLayerMount {
    const { readOnly, generation } = taken;
    let unmounted: Promise<unknown> | undefined;
    const unmount = async (): Promise<void> => {
      unmounted ??= release();
      try {
        await unmounted;
      } catch (error) {
        unmounted = undefined; // the use is not given back, so a later call tries again
        throw error;
      }
    };
    const { path } = new MountPoint(this.#root, layer);
    return { path, readOnly, generation, unmount, [Symbol.asyncDispose]: unmount };
  }

  #lock({ key }: RwLayer, signal: AbortSignal | undefined) {
    return this.#root.locks.acquire('containers', key, { signal });
  }
}

function newToken(): string {
  return randomName(8).toString('hex');
}

function useMarker({ key }: RwLayer, token: string): Marker {
  return `held.${key}.${token}`;
}

/**
 * Returns whether a mount may have failed because a lower that `lower` names has changed or is missing, or
 * because they are too many to stack.
 */
function mayBeOutdated(error: unknown): boolean {
  return (
    LayerstackError.is(error, 'ERR_STORE_CORRUPT', 'ERR_LAYER_NOT_FOUND', 'ERR_LAYER_DEPTH') ||
    isSystemError(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'EINVAL')
  );
}
