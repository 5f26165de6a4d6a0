/**
 * Publishes staged packed layers: one syncfs, then a rename of each to its ChainID, parents first. The caller
 * holds the layers' locks. A layer that the store has got meanwhile, in any form, is left out.
 */
import { throwIfAborted } from '../../core/abort.ts';
import type { ChainID } from '../../core/digest.ts';
import { syncSteps } from '../../system/disk.ts';
import { call, native, type BatchStep } from '../../system/native.ts';
import type { Root } from '../../system/root.ts';
import { statEntry } from '../../system/store-files.ts';
import type { PlannedLayer } from '../plan.ts';
import { noteSteps } from '../unused.ts';
import { hasPacked } from './entry.ts';
import { removePacked } from './remove.ts';
import type { StagedPackedLayer } from './stage.ts';

/** A staged packed layer with its place. */
interface Fresh {
  readonly chainId: ChainID;
  readonly parent: ChainID | undefined;
  readonly layer: StagedPackedLayer;
}

/** Returns the layers that were published, when they are durable. */
export async function publishPacked(
  root: Root,
  planned: readonly PlannedLayer[],
  signal: AbortSignal | undefined,
): Promise<StagedPackedLayer[]> {
  const { layout } = root;
  const fresh: Fresh[] = [];
  for (const { chainId, parent, layer } of planned) {
    if (!('writeSet' in layer) || layer.packed === undefined) continue;
    if (statEntry(layout.at(layout.layer(chainId))) !== undefined || hasPacked(layout, chainId)) continue;
    fresh.push({ chainId, parent, layer });
  }
  if (fresh.length === 0) return [];
  throwIfAborted(signal);
  const chainIds = fresh.map(({ chainId }) => chainId);
  // An entry that has lost its tar would be in the way.
  await removePacked(root, chainIds);
  const parents = fresh.flatMap(({ parent, layer }): BatchStep[] => {
    if (parent === undefined) return [];
    const path = layout.stagedPackedLayer(layer.writeSet, 'parent');
    return [{ op: 'write', path, data: parent, mode: 0o600 }];
  });
  await call(
    native.batch(layout.root, [
      ...noteSteps(layout, chainIds),
      ...parents,
      ...syncSteps(layout, [layout.packedLayers]),
    ]),
  );
  throwIfAborted(signal);
  await call(
    native.batch(layout.root, [
      ...fresh.map(({ chainId, layer }): BatchStep => {
        const from = layout.stagedPackedLayer(layer.writeSet);
        return { op: 'rename', from, to: layout.packedLayer(chainId), noReplace: true };
      }),
      { op: 'fsync', path: layout.packedLayers },
    ]),
  );
  return fresh.map(({ layer }) => layer);
}
