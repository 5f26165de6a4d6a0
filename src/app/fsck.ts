/**
 * Checks a store: its sessions, layers, images and containers, one after the other. With `repair` it makes
 * those repairs that lose nothing a user may want. Readers and writers may work at the same time. Objects
 * that they work on are left alone. Without `repair` it writes nothing, so it can also check the store of a
 * running dockerd.
 */
import { throwIfAborted } from '../core/abort.ts';
import { isSystemError, LayerstackError } from '../core/errors.ts';
import type { StoreFinding, Problem } from '../core/store-finding.ts';
import { checkContainers } from '../container/check.ts';
import { guardLayer } from '../container/guard-layer.ts';
import { checkImages, knownLayers, readConfigs } from '../image/check.ts';
import { Distribution } from '../image/distribution.ts';
import type { ImageStore } from '../image/store.ts';
import { checkPacked } from '../layer/packed/check.ts';
import { checkLayers } from '../layer/check.ts';
import type { LayerRepairs } from '../layer/check-content.ts';
import type { DamagedLayer, LayerStore } from '../layer/store.ts';
import { rwLayerOverlays } from '../rwlayer/check.ts';
import { checkSnapshots } from '../snapshot/check.ts';
import { checkSessions } from '../system/check.ts';
import { checkEntries, untilPlanted } from '../system/check-entries.ts';
import type { Root } from '../system/root.ts';
import { ArchiveCopies } from '../transfer/heal/archive-copies.ts';
import { KeptCopies, RegistryCopies, type OpenRepository } from '../transfer/heal/blob-copies.ts';
import { healLayer, type LayerCopies } from '../transfer/heal/heal-layer.ts';
import { OverlayCopies } from '../transfer/heal/overlay-copies.ts';

export interface FsckOptions {
  /** Reads all content: every layer's tar is rebuilt and compared with its digest. Default false. */
  readonly deep?: boolean | undefined;
  /** Repairs what can be repaired safely. Default false. */
  readonly repair?: boolean | undefined;
  /**
   * Image archives, files or folders. A repair takes layers from them whose contents are damaged or missing,
   * after the blobs that the store keeps.
   */
  readonly from?: readonly string[] | undefined;
  /** A repair takes such layers from the registries that had them, too. Default false. */
  readonly pull?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface FsckStores {
  readonly root: Root;
  readonly layers: LayerStore;
  readonly images: Pick<ImageStore, 'originals'>;
  /** Returns how repositories are opened. */
  readonly repositories: () => Promise<OpenRepository>;
}

/**
 * Yields what is wrong, as it is found.
 * @throws {@link LayerstackError} ERR_STORE_READ_ONLY for repairs of a store that is open read-only,
 *   ERR_ABORTED.
 */
export async function* fsck(
  stores: FsckStores,
  options: FsckOptions = {},
): AsyncGenerator<StoreFinding, void, undefined> {
  const { root, layers } = stores;
  const { deep = false, repair = false, signal } = options;
  checkOptions(options);
  if (repair) root.session();
  throwIfAborted(signal);
  const layerChecks = async function* (): AsyncGenerator<Problem> {
    const known = knownLayers(await readConfigs(root));
    const containers = await rwLayerOverlays(root);
    const guard = (layer: DamagedLayer): Promise<AsyncDisposable> => guardLayer(root, layer);
    const repairs: LayerRepairs = {
      renew: (layer, given) => layers.renew(layer, given),
      fetch: async (layer) => healLayer(layers, await placesOf(stores, options), layer, { guard, signal }),
    };
    yield* checkLayers(root, { known, containers, deep, guard, layers: repairs, signal });
    yield* checkPacked(root, { deep, signal });
  };
  const checks = [
    checkEntries(root.layout),
    untilPlanted(checkSessions(root)),
    untilPlanted(layerChecks()),
    untilPlanted(checkImages(root, layers, { signal })),
    untilPlanted(checkContainers(root, layers, { signal })),
    untilPlanted(checkSnapshots(root, layers, { signal })),
  ];
  for (const check of checks)
    for await (const problem of check) {
      throwIfAborted(signal);
      yield repair ? await repaired(problem) : withoutRepair(problem);
    }
}

function checkOptions({ repair = false, from = [], pull = false }: FsckOptions): void {
  if (repair || (from.length === 0 && !pull)) return;
  throw new LayerstackError(
    'ERR_INVALID_ARGUMENT',
    'archives and registries are asked for layers by a repair only: add repair (--repair)',
  );
}

/** Returns the places that may have copies of layers, in the order in which they are asked. */
async function placesOf(
  { root, layers, images, repositories }: FsckStores,
  { from = [], pull = false, signal }: FsckOptions,
): Promise<LayerCopies[]> {
  const stores = { root, layers, originals: images.originals };
  return [
    new OverlayCopies(stores, signal),
    new KeptCopies(stores, signal),
    ...from.map((path) => new ArchiveCopies(stores, path, signal)),
    ...(pull ? [new RegistryCopies(stores, new Distribution(root), await repositories(), signal)] : []),
  ];
}

async function repaired(problem: Problem): Promise<StoreFinding> {
  const finding = withoutRepair(problem);
  if (problem.repair === undefined) return finding;
  try {
    await problem.repair();
    return { ...finding, advice: '', repaired: true };
  } catch (error) {
    if (!isSystemError(error) && !LayerstackError.is(error)) throw error;
    return { ...finding, advice: `the repair failed: ${error.message}` };
  }
}

/** Returns the finding of a problem that was not repaired. */
export function withoutRepair({ code, severity, path, message, advice }: Problem): StoreFinding {
  return { code, severity, path, message, advice, repaired: false };
}
