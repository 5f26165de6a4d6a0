/**
 * Replaces the mount of an RW layer by another one at the same path. The new overlay is mounted in a second
 * directory of overlay2, *beside* that of the RW layer. Then one rename exchanges the two directories. A
 * mount moves with its directory. So the path leads to the old mount or to the new one, at every moment and
 * after a kill. The caller makes that rename, since it is also the step that changes the stack. Of the kernel
 * this needs only the exchange. Processes may stay in the old mount: they can still read its files. The
 * caller holds the RW layer's lock.
 */
import { isSystemError } from '../core/errors.ts';
import { call, native, type BatchStep } from '../system/native.ts';
import type { Root } from '../system/root.ts';
import type { Lowers } from './lowers.ts';
import { nextCountSteps, readMountCount, uncounted, type MountCount } from './mount-count.ts';
import { MountPoint } from './mount-point.ts';
import type { RwLayer } from './rwlayer.ts';

export class Replacement {
  readonly #root: Root;
  readonly #layer: RwLayer;
  readonly #count: MountCount;
  readonly #old: MountPoint;
  readonly #beside: MountPoint;

  constructor(root: Root, layer: RwLayer, beside: string) {
    this.#root = root;
    this.#layer = layer;
    this.#count = readMountCount(root.layout, layer.mountId) ?? uncounted();
    this.#old = new MountPoint(root, layer);
    this.#beside = new MountPoint(root, { ...layer, mountId: beside });
  }

  /** The generation of the new mount. */
  get generation(): number {
    return this.#count.generation + 1;
  }

  /** Returns the step after which nothing can be written through the old mount; EBUSY with open writers. */
  sealSteps(): BatchStep[] {
    return this.#count.readOnly ? [] : [readOnlyStep(this.#old.path, true)];
  }

  /** Returns the steps that mount the new overlay in the directory beside. Its `diff` and `work` exist. */
  mountSteps(lowers: Pick<Lowers, 'list' | 'packed'>): BatchStep[] {
    return [this.#beside.makeStep(), this.#beside.mountStep(lowers, this.#count.readOnly)];
  }

  /** Returns the steps that count the new generation. To count one that is not made is harmless. */
  countSteps(): BatchStep[] {
    const { generation } = this;
    return nextCountSteps(this.#root.layout, this.#layer.mountId, { ...this.#count, generation });
  }

  /**
   * Makes the old mount read-only after the exchange, so that processes in it notice: the whole file system,
   * or else the mount alone. Does nothing where files are open for writing.
   */
  async expire(): Promise<void> {
    const { root } = this.#root.layout;
    const target = this.#beside.path;
    for (const step of [{ op: 'fileSystemReadOnly', target }, readOnlyStep(target, true)] as const) {
      try {
        return await call(native.batch(root, [step]));
      } catch (error) {
        if (!isSystemError(error, 'EBUSY')) throw error;
      }
    }
  }

  /** Returns the step after the exchange that takes the old mount out of the tree. */
  dropStep(): BatchStep {
    return { op: 'unmountBehind', target: this.#beside.path };
  }
}

/**
 * Undoes a replacement before the exchange: removes the new mount, and makes the old one writable again. It
 * can be repeated.
 * @param layer - undefined when its container was removed
 */
export async function withdraw(root: Root, layer: RwLayer | undefined, beside: string): Promise<void> {
  const { layout } = root;
  const steps: BatchStep[] = [{ op: 'unmountBehind', target: layout.at(layout.overlay(beside, 'merged')) }];
  if (layer && readMountCount(layout, layer.mountId)?.readOnly !== true) {
    const point = new MountPoint(root, layer);
    if (await point.isMounted()) steps.push(readOnlyStep(point.path, false));
  }
  await call(native.batch(layout.root, steps));
}

function readOnlyStep(target: string, readOnly: boolean) {
  return { op: 'mountReadOnly', target, readOnly } as const;
}
