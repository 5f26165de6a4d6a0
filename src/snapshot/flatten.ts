/**
 * Keeps stacks short. When a container stands on {@link FLATTEN_AT} sealed uppers, they are merged in the
 * background into one, with hard links of their files. The next seal puts the container on the
 * merged upper. Snapshots and mounts do not change.
 *
 * A merged upper is a snapshot that is not listed. `layerstack/snapshots/<id>.flat` names it, where `<id>`
 * is the topmost snapshot that it merges.
 */
import { isHex64 } from '../core/digest.ts';
import { LayerstackError } from '../core/errors.ts';
import type { ContainerStore } from '../container/store.ts';
import { overlayOf, shortNameOf } from '../rwlayer/sealed.ts';
import type { Layout } from '../system/layout.ts';
import type { Root } from '../system/root.ts';
import { readText, statEntry } from '../system/store-files.ts';
import type { Deletions } from './deletions.ts';
import { sealedOf } from './fork.ts';
import { mergedRecord, mergeSealed } from './merge.ts';
import { readRecord } from './record.ts';
import { removeSnapshot } from './remove.ts';
import type { SealedStack } from './stack.ts';
import type { Snapshot } from './snapshot.ts';

/** The height at which a stack is merged. */
export const FLATTEN_AT = 64;
/** At this height a seal waits for the merge, since a stack has at most 128 lowers. */
const WAIT_AT = 96;

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

  /** Merges the stack of a snapshot in the background, if it is high enough. A failure is logged. */
  later(snapshot: Snapshot): void {
    if (snapshot.depth < FLATTEN_AT || this.#running !== undefined) return;
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
  async shorten(read: () => SealedStack, height: number): Promise<ShortStack> {
    if (height >= WAIT_AT) await this.drain();
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

/** Returns the id of the merged upper of a snapshot and all below it, if it exists. */
function flatOf(layout: Layout, id: string): string | undefined {
  const flat = readText(layout.at(layout.flatSnapshot(id)))?.trim() ?? '';
  if (!isHex64(flat)) return undefined;
  return statEntry(layout.at(layout.snapshot(flat))) === undefined ? undefined : flat;
}

/** Returns the ids of the merged uppers that a snapshot may be the last one to need. */
export async function flatsOf(layout: Layout, id: string, below: string | undefined): Promise<string[]> {
  const own = flatOf(layout, id);
  const next = below === undefined ? undefined : await readRecord(layout, below);
  return [own, next?.flattens === undefined ? undefined : below].filter((each) => each !== undefined);
}

/** Removes merged uppers that nothing needs. */
export async function removeFlats(root: Root, deletions: Deletions, ids: readonly string[]): Promise<void> {
  for (const id of ids)
    await root.aftermath.run('a merged upper that nothing needs stays', async () => {
      const record = await readRecord(root.layout, id);
      if (record === undefined) return;
      try {
        await removeSnapshot(root, deletions, record.snapshot, undefined);
      } catch (error) {
        if (!LayerstackError.is(error, 'ERR_SNAPSHOT_IN_USE')) throw error;
      }
    });
}
