/**
 * Mounts an image archive as a root file system in place, without unpacking it, in this order:
 *
 * 1. The archive is opened, and its image is chosen.
 * 2. Its layers are found or inflated.
 * 3. The index is written, which verifies the layers.
 * 4. The index is mounted, if the archive is unchanged.
 *
 * An error leaves nothing behind.
 */
import { throwIfAborted } from '../core/abort.ts';
import type { DiffID, ImageID } from '../core/digest.ts';
import { LayerstackError } from '../core/errors.ts';
import { parseKnownPlatform } from '../core/platform.ts';
import { formatReference } from '../core/reference.ts';
import { probeCapabilities, probeErofs, type Capabilities } from '../system/caps.ts';
import type { ErofsMethod, LayerWarning } from '../system/native.ts';
import { readImages } from '../transfer/archive/read-images.ts';
import { DEFAULT_MAX_BYTES } from '../transfer/ingest/publish-images.ts';
import type { PlannedImage } from '../transfer/ingest/planned.ts';
import { chooseImage } from './choose-image.ts';
import { ByteIdentifier, NO_DIGESTS } from './diff-ids.ts';
import { extractLayers } from './extract.ts';
import { requireUnchanged, type FileVersion } from './file-version.ts';
import { writeImageConfig } from './image-config.ts';
import { Layers, type ArchiveLayerForm, type OpenedLayer } from './layers.ts';
import { mountExtracted, mountIndex } from './mount.ts';
import type { Place } from './place.ts';
import { openInPlace } from './source.ts';
import { writeIndex } from './write-index.ts';

export interface OpenArchiveOptions {
  /** A name or an id of an image. Needed where the archive has several images. */
  readonly image?: string | undefined;
  /** `OS/ARCHITECTURE[/VARIANT]`. Default: the host's, or the only platform of the image. */
  readonly platform?: string | undefined;
  /**
   * Reads all layers and compares their digests with those in the image. Default true.
   */
  readonly verify?: boolean | undefined;
  /** Mounts it read-only. Default false. */
  readonly readOnly?: boolean | undefined;
  /**
   * Bound of the uncompressed bytes of each layer, and of all compressed layers together. Default 1 TiB.
   */
  readonly maxBytes?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The image in an archive. */
export interface ArchiveImage {
  readonly id: ImageID;
  /** `NAME:TAG`. */
  readonly references: readonly string[];
  /** The config document. */
  readonly config: Readonly<Record<string, unknown>>;
}

export interface ArchiveLayer {
  /** Its name in the archive. */
  readonly name: string;
  readonly diffId: DiffID;
  readonly form: ArchiveLayerForm;
  /** Bytes of its tar. */
  readonly size: number;
}

/** The root file system of an archive, mounted. */
export interface MountedArchive {
  /** Canonical path of the archive. */
  readonly archive: string;
  readonly image: ArchiveImage;
  /** Absolute path of the root file system. */
  readonly path: string;
  readonly readOnly: boolean;
  /** False where the digests were not verified. */
  readonly verified: boolean;
  /** False for an archive without digests, which cannot be verified. */
  readonly hasDigests: boolean;
  /** The lowest first. */
  readonly layers: readonly ArchiveLayer[];
  /** Lines for the user. */
  readonly notices: readonly string[];
  readonly warnings: readonly LayerWarning[];
  /** The files that must not change while it is mounted. */
  readonly files: readonly FileVersion[];
}

/**
 * Mounts the image of an archive in a place. The caller removes the place, also after an error.
 * @param path the canonical path of the archive
 * @param sourceName the name of the archive in messages
 */
export async function mountImage(
  path: string,
  sourceName: string,
  place: Place,
  options: OpenArchiveOptions = {},
): Promise<MountedArchive> {
  const { maxBytes = DEFAULT_MAX_BYTES, verify = true, signal } = options;
  throwIfAborted(signal);
  const platform = options.platform === undefined ? undefined : parseKnownPlatform(options.platform);
  const [caps, method] = await Promise.all([probeCapabilities(place.path), probeErofs(place.path)]);
  if (!caps.probe.sysAdmin)
    throw new LayerstackError(
      'ERR_NOT_ROOT',
      `${sourceName}: only root (CAP_SYS_ADMIN) can mount an archive: use sudo`,
      { path: sourceName },
    );
  const source = { sourceName, caps, maxBytes, signal };
  const opened = await openInPlace(path, place, source);
  try {
    const identifier = new ByteIdentifier(source);
    const plan = await readImages(opened.archive, identifier, platform);
    const hasDigests = !identifier.isUsed;
    const image = chooseImage(sourceName, plan.images, options.image);
    const layers = await Layers.open(image.layers, place, {
      ...source,
      ...{ verify, isFolder: opened.isFolder, extract: method === 'none' },
    });
    try {
      const files = [...opened.versions, ...layers.versions];
      const mount = { ...source, verify, method, readOnly: options.readOnly === true };
      await writeImageConfig(place, image.config);
      const warnings = await mountLayers(layers.list, files, place, mount);
      return {
        ...{ archive: path, path: place.at('merged'), readOnly: mount.readOnly },
        ...{ verified: verify && hasDigests, hasDigests, files, warnings },
        image: describe(image),
        layers: layers.list.map(({ name, diffId, form, range }) => ({
          name,
          diffId,
          form,
          size: range.size,
        })),
        notices: [
          ...(hasDigests ? [] : [NO_DIGESTS]),
          ...plan.notices,
          ...opened.notices,
          ...layerNotices(layers.list),
        ],
      };
    } finally {
      await layers.close();
    }
  } finally {
    await opened.close();
  }
}

interface MountOptions {
  readonly sourceName: string;
  readonly caps: Capabilities;
  readonly method: ErofsMethod | 'none';
  readonly verify: boolean;
  readonly readOnly: boolean;
  readonly maxBytes: number;
  readonly signal: AbortSignal | undefined;
}

async function mountLayers(
  layers: readonly OpenedLayer[],
  files: readonly FileVersion[],
  place: Place,
  options: MountOptions,
): Promise<readonly LayerWarning[]> {
  const { sourceName, method } = options;
  if (method === 'none') {
    const warnings = await extractLayers(layers, place, options);
    await requireUnchanged(sourceName, files);
    await mountExtracted(place, options);
    return warnings;
  }
  const index = await writeIndex(layers, place, options);
  try {
    await requireUnchanged(sourceName, files);
    await mountIndex(place, index, { ...options, method });
    // A change from now on would be visible through the mount.
    await requireUnchanged(sourceName, files);
    return index.warnings;
  } finally {
    await index.file.close();
  }
}

function describe({ config, references }: PlannedImage): ArchiveImage {
  const document = JSON.parse(Buffer.from(config.raw).toString()) as Readonly<Record<string, unknown>>;
  return { id: config.id, references: references.map(formatReference), config: document };
}

function layerNotices(layers: readonly OpenedLayer[]): string[] {
  const notices: string[] = [];
  const inflated = layers.filter(({ form }) => form === 'inflated');
  const bytes = inflated.reduce((sum, { range }) => sum + range.size, 0);
  if (inflated.length > 0)
    notices.push(
      `${count(inflated.length, 'compressed layer was', 'compressed layers were')} inflated into ${String(bytes)} bytes of disk`,
    );
  if (layers.some(({ form }) => form === 'extracted'))
    notices.push('This kernel cannot mount archives in place by EROFS: the layers were extracted');
  return notices;
}

function count(number: number, one: string, many: string): string {
  return `${String(number)} ${number === 1 ? one : many}`;
}
