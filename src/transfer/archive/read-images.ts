/** Recognises the format of an archive and reads its images. */
import type { Platform } from '../../core/platform.ts';
import { linkParents, mergeImages, selectPlatform, type Plan } from '../ingest/planned.ts';
import type { Archive } from './archive.ts';
import { DOCKER_MANIFEST, readDocker } from './docker.ts';
import { OCI_INDEX, readOci } from './oci.ts';
import { unknownFormat } from './unknown.ts';
import { readV1, V1_REPOSITORIES, type LayerIdentifier } from './v1.ts';

/**
 * @param layers for Docker's first format, which does not say what its layers are
 * @throws {@link LayerstackError} ERR_ARCHIVE_INVALID where it is none of the formats; what their readers throw.
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
