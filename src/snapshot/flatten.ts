/**
 * Keeps stacks short. When a container stands on {@link FLATTEN_AT} sealed uppers, they are merged in the
 * background into one, with hard links of their files. The next seal puts the container on the merged upper.
 * Snapshots and mounts do not change.
 *
 * A merged upper is a snapshot that is not listed. `layerstack/snapshots/<id>.flat` names it, where `<id>`
 * is the topmost snapshot that it merges.
 */
import type { ContainerStore } from '../container/store.ts';
import { overlayOf, shortNameOf } from '../rwlayer/sealed.ts';
import type { Root } from '../system/root.ts';
import { statEntry } from '../system/store-files.ts';
import { sealedOf } from './fork.ts';
import { mergedRecord, mergeSealed } from './merge.ts';
import { flatOf } from './merged-uppers.ts';
import { readRecord } from './record.ts';
import type { SealedStack } from './stack.ts';
import type { Snapshot } from './snapshot.ts';

/** The height at which a stack is merged. */
export const FLATTEN_AT = 64;
/** A seal waits for the merge at this many lowers, those of the image included: 128 can be mounted. */
const WAIT_AT = 96;
/** A stack of {@link WAIT_AT} lowers is merged when it has this many sealed uppers. */
const FLATTEN_DEEP_AT = 8;

/** A stack that does not change until this is disposed. */
export interface ShortStack extends Disposable {
  readonly stack: SealedStack;
}

export class Flats {
  readonly #root: Root;
  readonly #containers: ContainerStore;
  /** Only one merge runs at a time. A later one merges more uppers. */
  #running: Promise<unknown> | undefined;

  constructor(root: Root, containers: ContainerStore) {
    this.#root = root;
    this.#containers = containers;
  }

  /**
   * Merges the stack of a snapshot in the background, if it is high enough. A failure is logged.
   * @param lowers - the lowers of the snapshot's container
   */
  later(snapshot: Snapshot, lowers: number): void {
    const least = lowers < WAIT_AT ? FLATTEN_AT : FLATTEN_DEEP_AT;
    if (snapshot.depth < least || this.#running !== undefined) return;
    this.#running = this.#root.aftermath
      .run('the uppers of a snapshot are not merged', () => this.#merge(snapshot))
      .then(() => (this.#running = undefined));
  }

  /** Waits for the merge in the background. */
  async drain(): Promise<void> {
    await this.#running;
  }

  /**
   * Returns the stack of a container that is about to be sealed, on a merged upper if one exists. The merged
   * upper stays until the result is disposed.
   */
  async shorten(read: () => SealedStack): Promise<ShortStack> {
    if (read().lowers.length >= WAIT_AT) await this.drain();
    const stack = read();
    const { layout, locks } = this.#root;
    for (const [at, name] of stack.sealed.entries()) {
      const id = flatOf(layout, overlayOf(layout, name));
      if (id === undefined) continue;
      // The caller holds a lock of the same kind, so waiting could deadlock.
      const lock = locks.tryEach('containers', [id]);
      const release = (): void => void lock.release();
      const flat = lock.keys.has(id) ? shortNameOf(layout, id) : undefined;
      if (flat !== undefined && statEntry(layout.at(layout.snapshot(id))) !== undefined) {
        const sealed = [...stack.sealed.slice(0, at), flat];
        const lowers = [...sealed, ...stack.lowers.slice(stack.sealed.length)];
        return { stack: { ...stack, sealed, lowers }, [Symbol.dispose]: release };
      }
      release();
    }
    return { stack, [Symbol.dispose]: () => undefined };
  }

  async #merge(snapshot: Snapshot): Promise<void> {
    const { layout, locks } = this.#root;
    const { id } = snapshot;
    await using base = await this.#containers.rwLayers.base(snapshot.layer);
    await using _lock = await locks.acquire('containers', id, { shared: true });
    const found = await readRecord(layout, id);
    if (found === undefined || flatOf(layout, id) !== undefined) return;
    const record = {
      ...mergedRecord(found, { name: undefined, labels: {}, parent: undefined, depth: 1 }),
      flattens: id,
    };
    const uppers = sealedOf(this.#root, snapshot, base.lowers.length);
    const data = `${record.snapshot.id}\n`;
    await this.#root.session().replace([{ op: 'replace', path: layout.flatSnapshot(id), data, mode: 0o600 }]);
    await mergeSealed(this.#root, { record, uppers, below: [], base });
  }
}
