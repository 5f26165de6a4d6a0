/**
 * The deep check of a layer: compares its directory with its tar (layer/compare.ts). A repair writes `size`
 * only for a layer that is proven, so that it never hides damage.
 */
import { LayerstackError } from '../core/errors.ts';
import type { Problem } from '../core/store-finding.ts';
import { call, native, type ComparedLayer, type LayerDifference } from '../system/native.ts';
import type { Root } from '../system/root.ts';
import { statEntry } from '../system/store-files.ts';
import { apply, REPAIR, replace, underLock } from './check-overlay.ts';
import { compareLayer } from './compare.ts';
import { dropFlats } from './drop-flats.ts';
import type { ClassicLayer } from './layerdb.ts';
import type { DamagedLayer, GuardLayer, LayerStore } from './store.ts';

export interface ContentCheckOptions {
  readonly guard: GuardLayer;
  readonly layers: LayerRepairs;
  /** The most bytes that are read in a second; 0 for no bound. Default 0. */
  readonly rate?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Repairs of single layers. */
export interface LayerRepairs extends Pick<LayerStore, 'renew'> {
  /** Replaces a layer by a copy from an archive or registry; absent if the caller allows neither. */
  readonly fetch?: ((layer: DamagedLayer) => Promise<void>) | undefined;
}

export async function* checkContent(
  root: Root,
  layer: ClassicLayer,
  options: ContentCheckOptions,
): AsyncGenerator<Problem> {
  const { layout } = root;
  const compared = await compareLayer(layout, layer, options).catch((error: unknown) => {
    if (!LayerstackError.is(error) || error.code === 'ERR_ABORTED') throw error;
    return error;
  });
  // checkEntry reports a missing tar-split.
  if (compared === undefined) return;
  if (LayerstackError.is(compared)) {
    const path = layout.layer(layer.chainId, 'tar-split.json.gz');
    const { fetch } = options.layers;
    const repair = fetch && ((): Promise<void> => fetch(layer));
    yield {
      code: 'layer-damaged',
      severity: 'error',
      path,
      message: compared.message,
      advice: REPLACE,
      repair,
    };
    return;
  }
  yield* differences(root, layer, compared, options);
  if (compared.proven && compared.count === compared.metadata) yield* checkSize(root, layer);
}

/** The advice for a layer whose contents are not in the store. */
export const REPLACE =
  '`fsck --deep --repair --from ARCHIVE` replaces it from an archive that has the layer, and `--pull` from its registry';

/** The repair of a layer, and its advice. */
interface Repair {
  readonly advice: string;
  readonly repair?: (() => Promise<void>) | undefined;
}

/**
 * Chooses the smallest repair after which the layer matches its DiffID: set its metadata, make a new copy
 * from its own tar, or fetch a copy.
 */
function repairOf(
  root: Root,
  layer: ClassicLayer,
  compared: ComparedLayer,
  options: ContentCheckOptions,
): Repair {
  const { proven, count, metadata } = compared;
  const { fetch } = options.layers;
  if (proven && count === metadata)
    return {
      advice: 'repair sets it as the layer has it',
      repair: once(() => repairMetadata(root, layer, options)),
    };
  if (proven)
    return {
      advice: 'repair replaces the directory of the layer by a copy that is made of its own files',
      repair: once(() => options.layers.renew(layer, options)),
    };
  return { advice: REPLACE, repair: fetch && once(() => fetch(layer)) };
}

async function* differences(
  root: Root,
  layer: ClassicLayer,
  compared: ComparedLayer,
  options: ContentCheckOptions,
): AsyncGenerator<Problem> {
  const { layout } = root;
  const { proven, count, metadata, digest } = compared;
  const content = layout.overlay(layer.cacheId, 'diff');
  const repair = repairOf(root, layer, compared, options);
  const problem = (path: string, what: string, kind: LayerDifference['kind']): Problem => ({
    code: kind === 'metadata' ? 'layer-metadata' : 'layer-damaged',
    severity: 'error',
    path,
    message: `layer ${layer.diffId}: ${what}`,
    ...repair,
  });
  for (const { kind, path, what } of compared.differences)
    yield problem(path === '' ? content : `${content}/${path}`, `'${path}' ${what}`, kind);
  if (count > compared.differences.length) {
    const more = `${String(count - compared.differences.length)} more of its entries differ`;
    yield problem(content, more, count === metadata ? 'metadata' : 'tree');
  }
  if (proven || count > metadata) return;
  const what = `its tar has the digest ${digest}: its tar-split.json.gz was changed`;
  yield problem(layout.layer(layer.chainId, 'tar-split.json.gz'), what, 'content');
}

/** Sets the metadata of the layer's files as its tar has it. Durable on return. */
async function repairMetadata(
  root: Root,
  layer: ClassicLayer,
  { guard, signal }: ContentCheckOptions,
): Promise<void> {
  const repair = async (): Promise<void> => {
    await using _guard = await guard(layer);
    await compareLayer(root.layout, layer, { setMetadata: true, signal });
    await apply(root, [{ op: 'syncfs', path: root.layout.overlay2 }]);
    await dropFlats(root, layer.chainId);
  };
  await underLock(root, layer.chainId, repair, [REPAIR]);
}

async function* checkSize(root: Root, { chainId, cacheId, size }: ClassicLayer): AsyncGenerator<Problem> {
  const { layout } = root;
  const found = await call(native.contentSize(layout.at(layout.overlay(cacheId, 'diff'))));
  if (found === size) return;
  const path = layout.layer(chainId, 'size');
  if (statEntry(layout.at(path)) === undefined) return;
  yield {
    code: 'layer-size',
    severity: 'warning',
    path,
    message: `layer ${chainId} has ${found} bytes, but its entry records ${size}`,
    advice: 'repair records the real size',
    repair: () => underLock(root, chainId, () => replace(root, path, String(found), 0o644)),
  };
}

/** Returns a function that does the work at its first call, and gives each call the same result. */
function once(work: () => Promise<void>): () => Promise<void> {
  let done: Promise<void> | undefined;
  return () => (done ??= work());
}
