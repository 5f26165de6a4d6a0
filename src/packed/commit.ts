/**
 * Makes an image from the changes in a mounted archive. The layers of the archive's image come into the store
 * as a load brings them. They are verified even if the mount was not. The archive's own image and its names
 * are not added.
 */
import { join } from 'node:path';
import { commitUppers, type CommitOptions, type CommitStores } from '../container/commit-uppers.ts';
import { containerConfig } from '../container/config.ts';
import type { ImageID } from '../core/digest.ts';
import { LayerstackError } from '../core/errors.ts';
import { formatPlatform } from '../core/platform.ts';
import type { Reference } from '../core/reference.ts';
import { loadSelected } from '../transfer/archive/load.ts';
import { chooseImage } from './choose-image.ts';
import { requireUnchanged } from './file-version.ts';
import { readImageConfig } from './image-config.ts';
import type { ArchiveSource } from './operation.ts';

/**
 * Adds the image of a mounted archive and its changes to the store, as a commit of a container does.
 * @throws {@link LayerstackError} the errors of {@link ArchiveSource.open}, of {@link loadSelected} and of
 *   {@link commitUppers}; ERR_ARCHIVE_NOT_MOUNTED when it is unmounted by force meanwhile.
 */
export async function commitArchive(
  stores: CommitStores,
  source: ArchiveSource,
  reference: Reference | undefined,
  options: CommitOptions = {},
): Promise<ImageID> {
  const { signal, onProgress } = options;
  const { name } = source;
  await using operation = await source.open({ mounted: true, write: false, signal });
  const { place, archive, readOnly, files } = operation;
  const image = await readImageConfig(place);
  const config = containerConfig('', image, image.id, {});
  const uppers = {
    directories: readOnly ? [] : [join(place, 'upper')],
    owner: name,
    requireSame: () => undefined,
    removed: (cause?: unknown) =>
      new LayerstackError('ERR_ARCHIVE_NOT_MOUNTED', `${name} was unmounted while it was read`, { cause }),
  };
  const record = async (): Promise<ImageID> => {
    await requireUnchanged(name, files);
    const base = { image, parent: undefined, containerId: undefined, config };
    return commitUppers(stores, uppers, base, { ...options, reference });
  };
  const select = (images: Parameters<typeof chooseImage>[1]) => [chooseImage(name, images, image.id)];
  const load = { platform: formatPlatform(image), signal, onProgress };
  const { published } = await loadSelected(stores, archive, load, { select, record });
  return published.result;
}
