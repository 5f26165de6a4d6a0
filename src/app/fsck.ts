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
import { checkLayers } from '../layer/check.ts';
import type { DamagedLayer, LayerStore } from '../layer/store.ts';
import { rwLayerOverlays } from '../rwlayer/check.ts';
import { checkSnapshots } from '../snapshot/check.ts';
import { checkSessions } from '../system/check.ts';
import { checkEntries, untilPlanted } from '../system/check-entries.ts';
import type { Root } from '../system/root.ts';

export interface FsckOptions {
  /** Reads all content: every layer's tar is rebuilt and compared with its digest. Default false. */
  readonly deep?: boolean | undefined;
  /** Repairs what can be repaired safely. Default false. */
  readonly repair?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface FsckStores {
  readonly root: Root;
  readonly layers: Pick<LayerStore, 'find' | 'findAll' | 'collect' | 'collectable' | 'renew'>;
}

/**
 * Yields what is wrong, as it is found.
 * @throws {@link LayerstackError} ERR_STORE_READ_ONLY for repairs of a store that is open read-only,
 *   ERR_ABORTED.
 */
export async function* fsck(
  { root, layers }: FsckStores,
  { deep = false, repair = false, signal }: FsckOptions = {},
): AsyncGenerator<StoreFinding, void, undefined> {
  if (repair) root.session();
  throwIfAborted(signal);
  const layerChecks = async function* (): AsyncGenerator<Problem> {
    const known = knownLayers(await readConfigs(root));
    const containers = await rwLayerOverlays(root);
    const guard = (layer: DamagedLayer): Promise<AsyncDisposable> => guardLayer(root, layer);
    yield* checkLayers(root, { known, containers, deep, guard, layers, signal });
  };
  const checks = [
    checkEntries(root.layout),
    untilPlanted(checkSessions(root)),
    untilPlanted(layerChecks()),
    untilPlanted(checkImages(root, layers, { signal })),
    untilPlanted(checkContainers(root, layers, { signal })),
    untilPlanted(checkSnapshots(root, { signal })),
  ];
  for (const check of checks)
    for await (const problem of check) {
      throwIfAborted(signal);
      yield repair ? await repaired(problem) : withoutRepair(problem);
    }
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

function withoutRepair({ code, severity, path, message, advice }: Problem): StoreFinding {
  return { code, severity, path, message, advice, repaired: false };
}
