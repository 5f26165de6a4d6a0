/**
 * Publishes staged packed layers: one syncfs, then a rename of each to its ChainID, parents first. The caller
 * holds the layers' locks. A layer that another process has published meanwhile, in either form, is skipped.
 * The new entry replaces an incomplete or damaged one. It takes over the short name, because containers refer
 * to it.
 */
import { throwIfAborted } from '../../core/abort.ts';
import type { ChainID } from '../../core/digest.ts';
import { LayerstackError } from '../../core/errors.ts';
import { syncSteps } from '../../system/disk.ts';
import { call, native, type BatchStep } from '../../system/native.ts';
import type { Layout } from '../../system/layout.ts';
import { isEntryName } from '../../system/removal.ts';
import type { Root } from '../../system/root.ts';
import { readText, statEntry } from '../../system/store-files.ts';
import { isClassic, type Layer } from '../layerdb.ts';
import type { PlannedLayer } from '../plan.ts';
import { noteSteps } from '../unused.ts';
import { isLink } from './entry.ts';
import type { StagedPackedLayer } from './stage.ts';

/** A staged packed layer with its place. */
interface Fresh {
  readonly chainId: ChainID;
  readonly parent: ChainID | undefined;
  readonly layer: StagedPackedLayer;
  /** Its place has an entry, which it replaces. */
  readonly replaces: boolean;
}

export interface PublishPackedOptions {
  readonly signal?: AbortSignal | undefined;
  /** The layers are also extracted. The caller brings all layers above them into the packed form. */
  readonly copies?: boolean;
}

/**
 * Returns the layers that were published, when they are durable.
 * @param present - the stored layers in the order of the plan; undefined for a layer to publish
 * @throws {@link LayerstackError} ERR_LAYER_NOT_FOUND when a layer of the plan has vanished, or was damaged
 *   in Docker's form meanwhile.
 */
export async function publishPacked(
  root: Root,
  planned: readonly PlannedLayer[],
  present: readonly (Layer | undefined)[],
  { signal, copies = false }: PublishPackedOptions = {},
): Promise<StagedPackedLayer[]> {
  const { layout } = root;
  const fresh: Fresh[] = [];
  for (const [index, { chainId, parent, layer }] of planned.entries()) {
    if (present[index] !== undefined) continue;
    // Extracted layers stand on this entry. A packed layer cannot be below them, so only an extracted copy
    // may replace it.
    const isBelow = !copies && isClassic(root, chainId);
    if (!('writeSet' in layer) || layer.packed === undefined || isBelow) throw vanished(chainId);
    const replaces = statEntry(layout.at(layout.packedLayer(chainId))) !== undefined;
    fresh.push({ chainId, parent, layer, replaces });
  }
  if (fresh.length === 0) return [];
  throwIfAborted(signal);
  const chainIds = fresh.map(({ chainId }) => chainId);
  const facts = fresh.flatMap((each) => factSteps(root, each));
  await call(
    native.batch(layout.root, [
      ...noteSteps(layout, chainIds),
      ...facts,
      ...syncSteps(layout, [layout.packedLayers]),
    ]),
  );
  throwIfAborted(signal);
  await call(
    native.batch(layout.root, [
      ...fresh.map((each) => renameStep(root, each)),
      { op: 'fsync', path: layout.packedLayers },
    ]),
  );
  await removeReplaced(root, fresh);
  return fresh.map(({ layer }) => layer);
}

/** Returns the steps that write the parent, and the short name that containers know the layer by. */
function factSteps({ layout }: Root, { chainId, parent, layer }: Fresh): BatchStep[] {
  const write = (name: 'parent' | 'link', data: string): BatchStep => {
    const path = layout.stagedPackedLayer(layer.writeSet, name);
    // The syncfs of publishing covers it.
    return { op: 'replace', path, data, mode: 0o600, sync: false };
  };
  const known = readText(layout.at(layout.packedLayer(chainId, 'link')))?.trim();
  const link = classicLink(layout, chainId) ?? known;
  return [
    ...(parent === undefined ? [] : [write('parent', parent)]),
    ...(link !== undefined && isLink(link) ? [write('link', link)] : []),
  ];
}

/** Returns the short name of the extracted layer; undefined without one. */
export function classicLink(layout: Layout, chainId: ChainID): string | undefined {
  const cacheId = readText(layout.at(layout.layer(chainId, 'cache-id')))?.trim();
  if (cacheId === undefined || !isEntryName(cacheId)) return undefined;
  const link = readText(layout.at(layout.overlay(cacheId, 'link')))?.trim();
  return link !== undefined && isLink(link) ? link : undefined;
}

/** Gives a packed layer the short name that it has while it is extracted. dockerd may have chosen another. */
export async function keepLink(root: Root, chainId: ChainID): Promise<void> {
  const { layout } = root;
  const link = classicLink(layout, chainId);
  const path = layout.packedLayer(chainId, 'link');
  if (link === undefined || link === readText(layout.at(path))?.trim()) return;
  await root.session().replace([{ op: 'replace', path, data: link, mode: 0o600 }]);
}

function renameStep({ layout }: Root, { chainId, layer, replaces }: Fresh): BatchStep {
  const [from, to] = [layout.stagedPackedLayer(layer.writeSet), layout.packedLayer(chainId)];
  if (!replaces) return { op: 'rename', from, to, noReplace: true };
  return { op: 'exchange', from, to, via: layout.stagedPackedLayer(`${layer.writeSet}-old`) };
}

/** Removes the exchanged entries. They have the temporary names of the new ones, and their markers. */
async function removeReplaced({ layout, aftermath }: Root, fresh: readonly Fresh[]): Promise<void> {
  for (const { layer, replaces } of fresh)
    if (replaces)
      await aftermath.run('a replaced layer stays until the next writer', async () => {
        await call(native.removeTree(layout.root, layout.stagedPackedLayer(layer.writeSet)));
      });
}

function vanished(chainId: ChainID): LayerstackError {
  return new LayerstackError(
    'ERR_LAYER_NOT_FOUND',
    `layer ${chainId} was removed from the store, or damaged, meanwhile: try again`,
    { digest: chainId, layer: chainId },
  );
}
