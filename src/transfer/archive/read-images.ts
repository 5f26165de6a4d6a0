/** Recognises the format of an archive, and plans its images. */
import type { Platform } from '../../core/platform.ts';
import { linkParents, mergeImages, selectPlatform, type Plan } from '../ingest/planned.ts';
import type { Archive } from './archive.ts';
import { DOCKER_MANIFEST, readDocker } from './docker.ts';
import { OCI_INDEX, readOci } from './oci.ts';
import { unknownFormat } from './unknown.ts';
import { readV1, V1_REPOSITORIES, type LayerIdentifier } from './v1.ts';

/**
 * Plans the images of an archive.
 * @param layers identifies the layers of Docker's first format, which has no DiffIDs
 * @throws {@link LayerstackError} ERR_ARCHIVE_INVALID for an unknown format; the errors of the readers.
 */
export async function readImages(
  archive: Archive,
  layers: LayerIdentifier,
  platform: Platform | undefined,
): Promise<Plan> {
  const { sourceName, members } = archive;
  const plan = members.find(DOCKER_MANIFEST)
    ? await readDocker(archive)
    : members.find(OCI_INDEX)
      ? await readOci(archive, platform)
      : members.find(V1_REPOSITORIES)
        ? await readV1(archive, layers)
        : undefined;
  if (!plan) throw unknownFormat(archive);
  const images = platform ? selectPlatform(sourceName, plan.images, platform) : plan.images;
  return { ...plan, images: linkParents(sourceName, mergeImages(images)) };
}
