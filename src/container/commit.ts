/**
 * Makes an image from the changes in an RW layer. Sealed uppers below (rwlayer/sealed.ts) become layers too,
 * each with its step of history. commit-uppers.ts does the work.
 */
import type { ImageID } from '../core/digest.ts';
import { LayerstackError } from '../core/errors.ts';
import type { Reference } from '../core/reference.ts';
import type { ContainerConfig } from '../image/container-config.ts';
import type { RwLayer } from '../rwlayer/rwlayer.ts';
import { uppersOf } from '../rwlayer/sealed.ts';
import { commitUppers, type CommitOptions, type CommitStores } from './commit-uppers.ts';
import { rwLayerOf, type Container } from './record.ts';

export type { CommitOptions, CommitStores } from './commit-uppers.ts';

/** The source of an image: an RW layer, its parent image and its config. */
export interface CommitSource {
  readonly layer: RwLayer;
  /** The image below; undefined without one. */
  readonly imageId: ImageID | undefined;
  /** The config of the container or build step that wrote the RW layer. */
  readonly config: ContainerConfig;
}

/** Does {@link commitLayer} for a container. */
export function commit(
  stores: CommitStores,
  container: Container,
  reference: Reference | undefined,
  options?: CommitOptions,
): Promise<ImageID> {
  const { imageId, config } = container;
  return commitLayer(stores, { layer: rwLayerOf(container), imageId, config }, reference, options);
}

/**
 * Adds the image of an RW layer to the store, and gives it the name `reference`, if any. The image and its
 * contents are durable on return. An RW layer without changes adds no layer to the image. An error leaves the
 * store unchanged.
 * @throws {@link LayerstackError} ERR_IMAGE_NOT_FOUND; ERR_CONTAINER_NOT_FOUND when the RW layer is removed
 *   meanwhile; the errors of {@link commitUppers}.
 */
export async function commitLayer(
  stores: CommitStores,
  { layer, imageId, config }: CommitSource,
  reference: Reference | undefined,
  options: CommitOptions = {},
): Promise<ImageID> {
  const { layout } = stores.root;
  const image = imageId === undefined ? undefined : await stores.images.get(imageId);
  const { ids, requireSame } = uppersOf(layout, layer);
  const directories = ids.map((id) => layout.at(layout.overlay(id, 'diff'))).reverse();
  return commitUppers(
    stores,
    { directories, owner: layer.owner, requireSame, removed: (cause) => removed(layer, cause) },
    { image, parent: imageId, containerId: layer.key, config },
    { ...options, reference },
  );
}

function removed({ key, owner }: RwLayer, cause?: unknown): LayerstackError {
  return new LayerstackError('ERR_CONTAINER_NOT_FOUND', `${owner} was removed while it was read`, {
    id: key,
    cause,
  });
}
