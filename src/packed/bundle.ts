/**
 * The facts from which the bundle of an archive's root file system is made. The bundle is that of a container
 * of the image with docker's default host config, or with the one that a run asks for. The digest of the
 * place's name serves as the container's id. Anonymous volumes are kept in the place, and are removed with
 * it.
 */
import { hostname } from 'node:os';
import { basename } from 'node:path';
import { containerConfig, givenConfig, type ContainerOverrides } from '../container/config.ts';
import type { BundleSource } from '../container/bundle.ts';
import { readHostConfig } from '../container/decodable.ts';
import { hostnameOf, type HostConfig } from '../container/documents.ts';
import { hostSettings } from '../container/spec/settings.ts';
import { refuseUnsupported, thisMachine } from '../container/spec/unsupported.ts';
import { validateCreate } from '../container/validate.ts';
import { digestOf, hexOf } from '../core/digest.ts';
import { readImageConfig } from './image-config.ts';
import type { ArchiveOperation } from './operation.ts';

/** How the command of an archive is run, in the terms of `create`. */
export interface ArchiveSettings extends ContainerOverrides {
  /** The settings for the runtime, in docker's form. */
  readonly hostConfig?: HostConfig | undefined;
}

/** Returns the id that a container in a place has. */
export function archiveContainerId(place: string): string {
  return hexOf(digestOf(basename(place)));
}

/**
 * @param sourceName the name of the archive in messages
 * @param temporary announces temporary files of the bundle
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT, and ERR_UNSUPPORTED for a key of the host config that
 *   no bundle can carry.
 */
export async function archiveBundle(
  { place, lock }: ArchiveOperation,
  sourceName: string,
  temporary: BundleSource['temporary'],
  { hostConfig: given = {}, ...overrides }: ArchiveSettings = {},
): Promise<BundleSource> {
  const hostConfig = readHostConfig(given);
  await validateCreate(givenConfig(overrides), hostConfig);
  refuseUnsupported(hostConfig, thisMachine(noVolume), {});
  const image = await readImageConfig(place);
  const id = archiveContainerId(place);
  const host = hostConfig['NetworkMode'] === 'host' ? hostname() : hostnameOf({ id });
  return {
    id,
    config: containerConfig(host, image, image.id, overrides),
    host: hostSettings(hostConfig),
    volumes: {
      ...{ owner: sourceName, id, base: place, directory: 'volumes', lock },
      requireWritable: () => undefined,
      // The next writer removes a place that no process uses, with all that is in it.
      temporary: () => Promise.resolve({ [Symbol.asyncDispose]: () => Promise.resolve() }),
    },
    volumeOf: noVolume,
    temporary,
  };
}

/** Refuses named volumes, which belong to a store. An archive does not belong to a store. */
const noVolume = (): undefined => undefined;
