/**
 * The facts from which the bundle of an archive's root file system is made. The bundle is that of a container
 * of the image with docker's default host config. The digest of the place's name serves as the container's
 * id. Anonymous volumes are kept in the place, and are removed with it.
 */
import { basename } from 'node:path';
import { containerConfig } from '../container/config.ts';
import type { BundleSource } from '../container/bundle.ts';
import { readContainerFile } from '../container/decodable.ts';
import { hostConfigDocument, hostnameOf } from '../container/documents.ts';
import type { HostSettings } from '../container/spec/settings.ts';
import { digestOf, hexOf } from '../core/digest.ts';
import { readImageConfig } from './image-config.ts';
import type { ArchiveOperation } from './operation.ts';

/**
 * @param sourceName the name of the archive in messages
 * @param temporary announces temporary files of the bundle
 */
export async function archiveBundle(
  { place, lock }: ArchiveOperation,
  sourceName: string,
  temporary: BundleSource['temporary'],
): Promise<BundleSource> {
  const image = await readImageConfig(place);
  const id = hexOf(digestOf(basename(place)));
  return {
    id,
    config: containerConfig(hostnameOf({ id }), image, image.id, {}),
    host: defaultHostSettings(),
    volumes: {
      ...{ owner: sourceName, id, base: place, directory: 'volumes', lock },
      requireWritable: () => undefined,
      // The next writer removes a place that no process uses, with all that is in it.
      temporary: () => Promise.resolve({ [Symbol.asyncDispose]: () => Promise.resolve() }),
    },
    volumeOf: () => undefined,
    temporary,
  };
}

function defaultHostSettings(): HostSettings {
  return readContainerFile('hostconfig.json', Buffer.from(hostConfigDocument({})), {
    what: 'the default host config',
    code: 'ERR_INTERNAL',
  }) as HostSettings;
}
