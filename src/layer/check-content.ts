/**
 * The deep check of a layer: compares its directory with its tar (layer/compare.ts). `size` is written anew
 * only for a layer that is proven, so that a repair never hides damage.
 */
import { LayerstackError } from '../core/errors.ts';
import type { Problem } from '../core/store-finding.ts';
import { call, native, type ComparedLayer, type LayerDifference } from '../system/native.ts';
import type { Root } from '../system/root.ts';
import { statEntry } from '../system/store-files.ts';
import { apply, replace, underLock } from './check-overlay.ts';
import { compareLayer } from './compare.ts';
import type { Layer } from './layerdb.ts';

/** Claims the use of a layer for a repair of its files. @throws ERR_CONTAINER_MOUNTED where it is mounted. */
export type GuardLayer = (layer: Layer) => Promise<AsyncDisposable>;

export interface ContentCheckOptions {
  readonly guard: GuardLayer;
  readonly signal?: AbortSignal | undefined;
}

export async function* checkContent(
  root: Root,
  layer: Layer,
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
    yield { code: 'layer-damaged', severity: 'error', path, message: compared.message, advice: REPLACE };
    return;
  }
  yield* differences(root, layer, compared, options);
  if (compared.proven && compared.count === compared.metadata) yield* checkSize(root, layer);
}

const REPLACE = 'load or pull an image with the layer again: the layer is replaced then';

async function* differences(
  root: Root,
  layer: Layer,
  compared: ComparedLayer,
  options: ContentCheckOptions,
): AsyncGenerator<Problem> {
  const { layout } = root;
  const { proven, count, metadata, digest } = compared;
  const content = layout.overlay(layer.cacheId, 'diff');
  const isMetadata = proven && count === metadata;
  const mend = once(() => mendMetadata(root, layer, options));
  const problem = (path: string, what: string, kind: LayerDifference['kind']): Problem => ({
    code: kind === 'metadata' ? 'layer-metadata' : 'layer-damaged',
    severity: 'error',
    path,
    message: `layer ${layer.diffId}: ${what}`,
    advice: isMetadata ? 'repair sets it as the layer has it' : REPLACE,
    repair: isMetadata ? mend : undefined,
  });
  for (const { kind, path, what } of compared.differences)
    yield problem(path === '' ? content : `${content}/${path}`, `'${path}' ${what}`, kind);
  if (count > compared.differences.length) {
    const more = `${String(count - compared.differences.length)} more of its entries differ`;
    yield problem(content, more, isMetadata ? 'metadata' : 'tree');
  }
  if (proven || count > metadata) return;
  const what = `its tar has the digest ${digest}: its tar-split.json.gz was changed`;
  yield problem(layout.layer(layer.chainId, 'tar-split.json.gz'), what, 'content');
}

/** Sets the metadata of the layer's files as its tar has it. Durable on return. */
async function mendMetadata(root: Root, layer: Layer, { guard, signal }: ContentCheckOptions): Promise<void> {
  await underLock(root, layer.chainId, async () => {
    await using _guard = await guard(layer);
    await compareLayer(root.layout, layer, { mend: true, signal });
    await apply(root, [{ op: 'syncfs', path: root.layout.overlay2 }]);
  });
}

async function* checkSize(root: Root, { chainId, cacheId, size }: Layer): AsyncGenerator<Problem> {
  const { layout } = root;
  const found = await call(native.contentSize(layout.at(layout.overlay(cacheId, 'diff'))));
  if (found === size) return;
  const path = layout.layer(chainId, 'size');
  if (statEntry(layout.at(path)) === undefined) return;
  yield {
    code: 'layer-size',
    severity: 'warning',
    path,
    message: `layer ${chainId} has ${found} bytes, and says ${size}`,
    advice: 'repair writes what it has',
    repair: () => underLock(root, chainId, () => replace(root, path, String(found), 0o644)),
  };
}

/** Returns a function that does the work at its first call, and gives each call the same result. */
function once(work: () => Promise<void>): () => Promise<void> {
  let done: Promise<void> | undefined;
  return () => (done ??= work());
}
