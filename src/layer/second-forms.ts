/**
 * Layers in both forms. Between the steps of a settle or a pack, layers are both extracted and packed. Then
 * the extracted form is used. Both forms also stay after a kill between the steps, and after a pack while
 * containers on the layers are mounted. This file decides which form is removed. A layer stays extracted as
 * long as an image in Docker's form, BuildKit, or an extracted layer above it needs that form.
 */
import type { ChainID } from '../core/digest.ts';
import { mountState } from '../system/mounts.ts';
import { listEntries, readEntry } from '../system/removal.ts';
import type { Root } from '../system/root.ts';
import { isUpperInUse } from '../system/upper-in-use.ts';
import { readText } from '../system/store-files.ts';
import { isClassic } from './layerdb.ts';
import { lineageOf } from './lineage.ts';
import { hasPacked } from './packed/entry.ts';
import { classicIds, readBuildkit, readChainId, readParent } from './uses.ts';

/** Returns whether the store has the layer extracted and packed. */
export function hasBothForms(root: Root, chainId: ChainID): boolean {
  return isClassic(root, chainId) && hasPacked(root.layout, chainId);
}

/** The layers whose extracted form is needed. */
export interface ClassicNeeds {
  /** Returns the candidates whose extracted form nothing needs, children before parents. */
  unneeded(candidates: readonly ChainID[]): ChainID[];
  /** Returns whether an image in Docker's form, or BuildKit, uses the layer. */
  has(chainId: ChainID): boolean;
}

/**
 * Finds the layers whose extracted form is needed.
 * @param tops - the top layers of the images in Docker's form
 */
export async function classicNeeds({ layout }: Root, tops: Iterable<ChainID>): Promise<ClassicNeeds> {
  const parents = new Map<ChainID, ChainID | undefined>();
  const needed = new Set<ChainID>();
  const children = new Map<ChainID, number>();
  const buildkit = await readBuildkit(layout);
  const classic = await classicIds(layout);
  for (const chainId of classic) {
    const parent = readParent(layout, chainId);
    parents.set(chainId, parent);
    if (parent !== undefined) children.set(parent, (children.get(parent) ?? 0) + 1);
  }
  const isBuildkits = async (chainId: ChainID): Promise<boolean> => {
    if (buildkit === undefined) return false;
    const cacheId = await readEntry(layout, layout.layer(chainId, 'cache-id'));
    return buildkit.includes(chainId) || (cacheId !== undefined && buildkit.includes(cacheId));
  };
  const roots = [...tops];
  for (const chainId of classic) if (await isBuildkits(chainId)) roots.push(chainId);
  for (const root of roots)
    for (let next: ChainID | undefined = root; next !== undefined && !needed.has(next);) {
      needed.add(next);
      next = parents.get(next);
    }
  return {
    has: (chainId) => needed.has(chainId),
    unneeded: (candidates) => fromTheTop(candidates, { needed, children: new Map(children), parents }),
  };
}

function fromTheTop(
  candidates: readonly ChainID[],
  facts: {
    readonly needed: ReadonlySet<ChainID>;
    readonly children: Map<ChainID, number>;
    readonly parents: ReadonlyMap<ChainID, ChainID | undefined>;
  },
): ChainID[] {
  const { needed, children, parents } = facts;
  const left = new Set(candidates);
  const isFree = (chainId: ChainID): boolean =>
    left.has(chainId) && !needed.has(chainId) && (children.get(chainId) ?? 0) === 0;
  const found: ChainID[] = [];
  const queue = candidates.filter(isFree);
  for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
    if (!left.delete(next)) continue;
    found.push(next);
    const parent = parents.get(next);
    if (parent === undefined) continue;
    children.set(parent, (children.get(parent) ?? 1) - 1);
    if (isFree(parent)) queue.push(parent);
  }
  return found;
}

export interface UnmountedLayers extends Disposable {
  readonly chainIds: readonly ChainID[];
}

/**
 * Returns the layers on which no RW layer is mounted. Until this is disposed, RW layers on them cannot be
 * mounted. It never waits: it leaves out a layer if an RW layer above it is locked. Mounts in other mount
 * namespaces are not seen (docs/reliability.md). The caller holds the lock `REPAIR`, so no RW layer is made.
 */
export async function unmountedLayers(root: Root, chainIds: readonly ChainID[]): Promise<UnmountedLayers> {
  const { layout, locks } = root;
  const wanted = new Set(chainIds);
  const above = new Map<string, readonly ChainID[]>();
  for (const key of await listEntries(layout, layout.mounts)) {
    const parent = readChainId(layout.at(layout.mount(key, 'parent')));
    const below = parent === undefined ? [] : lineageOf(layout, parent).filter((each) => wanted.has(each));
    if (below.length > 0) above.set(key, below);
  }
  const held = locks.tryEach('containers', above.keys());
  try {
    for (const [key, below] of above)
      if (!held.keys.has(key) || (await isMounted(root, key)))
        for (const chainId of below) wanted.delete(chainId);
  } catch (error) {
    await held.release();
    throw error;
  }
  const release = (): void => void held.release();
  return { chainIds: chainIds.filter((chainId) => wanted.has(chainId)), [Symbol.dispose]: release };
}

/** Returns whether the RW layer is mounted, or a detached mount of it is still in use. */
async function isMounted(root: Root, key: string): Promise<boolean> {
  const { layout, caps } = root;
  const mountId = readText(layout.at(layout.mount(key, 'mount-id')))?.trim();
  if (mountId === undefined || !/^[0-9a-f]{64}(?:-init)?$/.test(mountId)) return false;
  if ((await mountState(layout.at(layout.overlay(mountId, 'merged')))) !== 'none') return true;
  return caps.mountMethod !== 'flat' && (await isUpperInUse(root, { mountId }));
}
