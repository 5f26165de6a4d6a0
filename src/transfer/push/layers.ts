/** Pushes the layers of an image to a repository, in parallel. */
import type { Descriptor } from '../../core/descriptor.ts';
import type { DiffID } from '../../core/digest.ts';
import type { OriginalImage } from '../../image/originals.ts';
import { Slots } from '../../layer/slots.ts';
import type { Layer } from '../../layer/store.ts';
import { pushLayer, type LayerTarget } from './layer.ts';

export interface PushLayersOptions {
  /** Where the layers are sent as they were pulled. */
  readonly original: OriginalImage | undefined;
  /** Maximum layers sent at once. */
  readonly uploads: number;
  readonly signal: AbortSignal | undefined;
}

/**
 * Returns the blobs of all layers, bottom to top. The first failure stops the others. All have ended on
 * return.
 * @throws {@link LayerstackError} the errors of `pushLayer`.
 */
export async function pushLayers(
  chain: readonly Layer[],
  to: Omit<LayerTarget, 'signal'>,
  { original, uploads, signal: outer }: PushLayersOptions,
): Promise<Descriptor[]> {
  const stop = new AbortController();
  const signal = outer ? AbortSignal.any([outer, stop.signal]) : stop.signal;
  const target = { ...to, signal };
  const { onProgress } = target;
  const slots = new Slots(uploads);
  const pushes = new Map<DiffID, Promise<Descriptor>>();
  // A layer that occurs twice in an image is sent once.
  const distinct = [...new Map(chain.map((layer, at) => [layer.diffId, { layer, at }])).values()];
  for (const { layer } of distinct)
    onProgress({ type: 'layer-preparing', diffId: layer.diffId, current: 0, total: layer.size });
  for (const [turn, { layer, at }] of distinct.entries()) {
    if (turn >= uploads)
      onProgress({ type: 'layer-waiting', diffId: layer.diffId, current: 0, total: layer.size });
    const descriptor = original?.layers[at];
    const source = original && descriptor && { image: original, descriptor };
    const pushed = slots.run(signal, () => pushLayer(layer, target, source));
    pushed.catch((error: unknown) => stop.abort(error));
    pushes.set(layer.diffId, pushed);
  }
  const results = await Promise.allSettled(pushes.values());
  const failed = results
    .filter((result) => result.status === 'rejected')
    .map(({ reason }) => reason as unknown);
  // The first failure aborts the others, which end with ERR_ABORTED; it is the reason to throw.
  if (failed.length > 0) throw signal.reason === stop.signal.reason ? stop.signal.reason : failed[0];
  return Promise.all(chain.map(({ diffId }) => pushes.get(diffId) as Promise<Descriptor>));
}
