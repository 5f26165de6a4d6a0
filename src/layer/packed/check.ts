/**
 * Checks packed layers. Each entry is complete, has its parent, and has the two files that were written. With
 * `deep`, each tar is compared with its DiffID, and each index with its tar.
 */
import { throwIfAborted } from '../../core/abort.ts';
import { constants } from 'node:fs';
import { hexOf, type ChainID } from '../../core/digest.ts';
import { isSystemError, type LayerstackError } from '../../core/errors.ts';
import type { Problem } from '../../core/store-finding.ts';
import type { Layout } from '../../system/layout.ts';
import type { Root } from '../../system/root.ts';
import { openStoreFile, statEntry } from '../../system/store-files.ts';
import { findPacked, packedIds, type PackedLayer } from './entry.ts';
import { isIndexOf } from './index-content.ts';
import { writeAnew } from './open-index.ts';
import { removePacked } from './remove.ts';
import { damageOf, hasOwnFiles } from './verify.ts';

export interface PackedCheckOptions {
  readonly deep: boolean;
  /** Checks this layer alone. */
  readonly only?: ChainID | undefined;
  readonly signal?: AbortSignal | undefined;
}

const RELOAD = 'load or pull its images again';

export async function* checkPacked(
  root: Root,
  { deep, only, signal }: PackedCheckOptions,
): AsyncGenerator<Problem> {
  const { layout } = root;
  for (const chainId of only === undefined ? await packedIds(layout) : [only]) {
    throwIfAborted(signal);
    const layer = await findPacked(layout, chainId);
    if (layer === undefined) {
      // A writer that removes it renames it first.
      if (statEntry(layout.at(layout.packedLayer(chainId))) !== undefined) yield incomplete(root, chainId);
      continue;
    }
    try {
      if (layer.parent !== undefined && !isPresent(root, layer.parent)) yield withoutParent(root, layer);
      const damage = deep ? await damageOf(layout, layer, signal) : undefined;
      if (damage) yield damagedTar(layout, layer, damage);
      if (!(await hasOwnFiles(layout, layer))) yield otherIndex(root, layer);
      else if (deep && !damage && !(await hasOwnIndex(layout, layer, signal)))
        yield foreignIndex(root, layer);
    } catch (error) {
      // Another process extracts or removes the layer.
      if (!isSystemError(error, 'ENOENT') || (await findPacked(layout, chainId)) !== undefined) throw error;
    }
  }
}

function isPresent({ layout }: Root, chainId: ChainID): boolean {
  return [layout.layer(chainId), layout.packedLayer(chainId)].some(
    (path) => statEntry(layout.at(path)) !== undefined,
  );
}

function incomplete(root: Root, chainId: ChainID): Problem {
  return {
    code: 'layer-incomplete',
    severity: 'error',
    path: root.layout.packedLayer(chainId),
    message: `packed layer ${chainId} is incomplete: a file is missing, or does not fit the ChainID`,
    advice: 'repair removes it; then load or pull its images again',
    repair: async () => {
      root.session();
      await using _lock = await root.locks.acquire('layers', chainId);
      if ((await findPacked(root.layout, chainId)) === undefined) await removePacked(root, [chainId]);
    },
  };
}

function withoutParent({ layout }: Root, { chainId, parent }: PackedLayer): Problem {
  return {
    code: 'layer-incomplete',
    severity: 'error',
    path: layout.packedLayer(chainId, 'parent'),
    message: `packed layer ${chainId} stands on ${String(parent)}, which is not in the store`,
    advice: RELOAD,
  };
}

function damagedTar(layout: Layout, { chainId }: PackedLayer, damage: LayerstackError): Problem {
  return {
    code: 'layer-damaged',
    severity: 'error',
    path: layout.packedLayer(chainId, 'layer.tar'),
    message: damage.message,
    advice: `its tar was changed or damaged: ${RELOAD} (layer ${hexOf(chainId).slice(0, 12)})`,
  };
}

/** Returns whether the index is the one that the tar gives. */
async function hasOwnIndex(
  layout: Layout,
  { chainId, diffId }: PackedLayer,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const file = (name: 'layer.tar' | 'index.erofs') =>
    openStoreFile(layout.at(layout.packedLayer(chainId, name)), constants.O_RDONLY);
  await using tar = await file('layer.tar');
  await using index = await file('index.erofs');
  return await isIndexOf({ tar, index, directory: layout.root }, diffId, signal);
}

/** Returns the problem of an index that shows other files than its tar. */
function foreignIndex(root: Root, layer: PackedLayer): Problem {
  return {
    ...otherIndex(root, layer),
    severity: 'error',
    message: `the index of packed layer ${layer.chainId} does not fit its tar: mounts of it show other files`,
    advice: 'repair writes the index anew from the tar; then mount its containers again',
  };
}

function otherIndex(root: Root, layer: PackedLayer): Problem {
  const { layout } = root;
  return {
    code: 'layer-index',
    severity: 'warning',
    path: layout.packedLayer(layer.chainId, 'index.erofs'),
    message: `the index or the tar of packed layer ${layer.chainId} has changed since it was written; a copy of the root has this effect too`,
    advice: 'the next mount, or repair, writes the index anew from the tar, and verifies the tar',
    repair: async () => {
      root.session();
      await using tar = await openStoreFile(
        layout.at(layout.packedLayer(layer.chainId, 'layer.tar')),
        constants.O_RDONLY,
      );
      await (await writeAnew(root, layer, tar)).close();
    },
  };
}
