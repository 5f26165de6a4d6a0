/**
 * Makes an image of a snapshot. Each sealed upper becomes a layer, as in the commit of a container above it.
 * container/commit-uppers.ts does the work.
 */
import type { ImageID } from '../core/digest.ts';
import { LayerstackError } from '../core/errors.ts';
import type { Reference } from '../core/reference.ts';
import { commitUppers, type CommitOptions, type CommitStores } from '../container/commit-uppers.ts';
import { decodeContainer } from '../container/record.ts';
import { lowerOf, overlayOf } from '../rwlayer/sealed.ts';
import { statEntry } from '../system/store-files.ts';
import { removed } from './fork.ts';
import { readRecord } from './record.ts';
import { titleOf } from './remove.ts';
import type { Snapshot } from './snapshot.ts';

/**
 * Adds the image of a snapshot to the store, and gives it the name `reference`, if any. Its config is that
 * of the container that was sealed. The image and its contents are durable on return. An error leaves the
 * store unchanged.
 * @throws {@link LayerstackError} ERR_SNAPSHOT_NOT_FOUND, ERR_IMAGE_NOT_FOUND, ERR_STORE_CORRUPT; the
 *   errors of `commitUppers`.
 */
export async function commitSnapshot(
  stores: CommitStores,
  { id }: Snapshot,
  reference: Reference | undefined,
  options: CommitOptions = {},
): Promise<ImageID> {
  const { layout } = stores.root;
  const record = await readRecord(layout, id);
  if (record === undefined) throw missing(id);
  const { snapshot, documents } = record;
  const { imageId, containerId, depth } = snapshot;
  const described = decodeContainer(containerId, documents['config.v2.json']);
  if (described === undefined)
    throw new LayerstackError(
      'ERR_STORE_CORRUPT',
      `the record of ${titleOf(snapshot)} has no valid config of its container: fork the snapshot, and commit the fork`,
      { id, path: layout.at(layout.snapshot(id)) },
    );
  const image = imageId === undefined ? undefined : await stores.images.get(imageId);
  const sealed = lowerOf(layout, id).slice(0, depth - 1);
  const ids = [id, ...sealed.map((name) => overlayOf(layout, name))];
  const requireSame = (): void => {
    if (statEntry(layout.at(layout.snapshot(id))) === undefined) throw removed(snapshot);
  };
  return commitUppers(
    stores,
    {
      directories: ids.map((each) => layout.at(layout.overlay(each, 'diff'))).reverse(),
      owner: titleOf(snapshot),
      requireSame,
      removed: () => removed(snapshot),
    },
    { image, parent: imageId, containerId, config: described.config },
    { ...options, reference },
  );
}

function missing(id: string): LayerstackError {
  return new LayerstackError('ERR_SNAPSHOT_NOT_FOUND', `snapshot ${id.slice(0, 12)} was removed`, { id });
}
