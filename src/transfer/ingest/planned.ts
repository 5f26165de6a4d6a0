/** The plan: the images that an archive or a registry holds, in any format, before anything is published. */
import { isDeepStrictEqual } from 'node:util';
import type { Descriptor } from '../../core/descriptor.ts';
import type { DiffID, ImageID } from '../../core/digest.ts';
import { LayerstackError } from '../../core/errors.ts';
import { formatPlatform, matchPlatform, normalizePlatform, type Platform } from '../../core/platform.ts';
import { formatReference, type Reference } from '../../core/reference.ts';
import { parseImageConfig, type ImageConfig } from '../../image/config.ts';
import { requireDepth } from '../../layer/plan.ts';
import type { LayerMember } from './member.ts';

export interface PlannedLayer {
  readonly member: LayerMember;
  readonly diffId: DiffID;
  /** The descriptor of the member's bytes, where a manifest has one. */
  readonly blob?: Descriptor;
}

export interface PlannedImage {
  readonly config: ImageConfig;
  /** Bottom to top, as many as the config has DiffIDs. */
  readonly layers: readonly PlannedLayer[];
  /** Names, each with a tag. */
  readonly references: readonly Reference[];
  /** The parent, if it comes with the image. */
  readonly parent?: ImageID | undefined;
  /** True for an image that is only a parent of others and was not asked for. */
  readonly intermediate?: boolean;
}

export interface Plan {
  readonly images: readonly PlannedImage[];
  readonly notices: readonly string[];
}

/**
 * Reads a config and pairs its DiffIDs with layers.
 *
 * @throws {@link LayerstackError} ERR_CONFIG_INVALID, ERR_LAYER_COUNT, ERR_LAYER_DEPTH.
 */
export function planImage(
  sourceName: string,
  configMember: string,
  raw: Uint8Array,
  layers: readonly Omit<PlannedLayer, 'diffId'>[],
): Pick<PlannedImage, 'config' | 'layers'> {
  const config = inMember(sourceName, configMember, () => configOf(raw));
  const { diffIds } = config;
  if (layers.length !== diffIds.length)
    throw new LayerstackError(
      'ERR_LAYER_COUNT',
      `${sourceName}: the manifest lists ${String(layers.length)} layers for '${configMember}', whose ` +
        `rootfs.diff_ids has ${String(diffIds.length)}; save the image again`,
      { path: sourceName, member: configMember, expected: diffIds.length, found: layers.length },
    );
  inMember(sourceName, configMember, () => requireDepth(diffIds.length));
  return { config, layers: layers.map((layer, index) => ({ ...layer, diffId: diffIds[index] as DiffID })) };
}

/**
 * Parsed configs by their bytes. An archive's reader returns the same array for the same member, and
 * thousands of manifest items may name one config of megabytes.
 */
const configs = new WeakMap<Uint8Array, ImageConfig>();

function configOf(raw: Uint8Array): ImageConfig {
  const config = configs.get(raw) ?? parseImageConfig(raw);
  configs.set(raw, config);
  return config;
}

/** Runs a parser, and adds the archive and the member to its errors. */
export function inMember<T>(sourceName: string, member: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (!LayerstackError.is(error)) throw error;
    throw LayerstackError.within(error, `${sourceName}: '${member}': ${error.message}`, {
      path: sourceName,
      member,
    });
  }
}

/** Merges images that appear several times (for example once for each name) to one with all the names. */
export function mergeImages(images: readonly PlannedImage[]): PlannedImage[] {
  const byId = new Map<ImageID, { image: PlannedImage; references: Map<string, Reference> }>();
  for (const image of images) {
    const { id } = image.config;
    const seen = byId.get(id) ?? { image, references: new Map<string, Reference>() };
    for (const reference of image.references) seen.references.set(formatReference(reference), reference);
    seen.image = { ...seen.image, parent: seen.image.parent ?? image.parent };
    byId.set(id, seen);
  }
  return [...byId.values()].map(({ image, references }) => ({
    ...image,
    references: [...references.values()],
  }));
}

/**
 * Returns the images that run on the platform.
 *
 * @throws {@link LayerstackError} ERR_PLATFORM_NOT_FOUND when none does.
 */
export function selectPlatform(
  sourceName: string,
  images: readonly PlannedImage[],
  wanted: Platform,
): PlannedImage[] {
  const selected = images.filter(({ config }) => matchPlatform([{ platform: platformOf(config) }], wanted));
  if (selected.length === 0)
    throw noPlatform(
      sourceName,
      wanted,
      images.map(({ config }) => platformOf(config)),
    );
  return selected;
}

export function platformOf({ os, architecture, variant }: ImageConfig): Platform {
  return normalizePlatform({ os, architecture, ...(variant !== undefined && { variant }) });
}

export function noPlatform(
  sourceName: string,
  wanted: Platform,
  there: readonly Platform[],
): LayerstackError {
  const list = [...new Set(there.map(formatPlatform))].join(', ');
  return new LayerstackError(
    'ERR_PLATFORM_NOT_FOUND',
    `${sourceName}: has no image for ${formatPlatform(wanted)}; it has ${list}: choose one with platform (--platform)`,
    { path: sourceName, expected: formatPlatform(wanted), found: list },
  );
}

/**
 * Keeps the parents that dockerd keeps: those in the same archive.
 *
 * @throws {@link LayerstackError} ERR_MANIFEST_INVALID for a parent whose history is not the child's history
 *   without its last step (unless both are empty).
 */
export function linkParents(sourceName: string, images: readonly PlannedImage[]): PlannedImage[] {
  const byId = new Map(images.map((image) => [image.config.id, image]));
  return images.map((image) => {
    const { id } = image.config;
    const parent = image.parent !== undefined && image.parent !== id ? byId.get(image.parent) : undefined;
    if (parent && !isParent(parent.config, image.config))
      throw new LayerstackError(
        'ERR_MANIFEST_INVALID',
        `${sourceName}: image ${id} names ${parent.config.id} as its parent, but its history is not that of the parent ` +
          `and one more step: save the image again`,
        { path: sourceName, id },
      );
    return { ...image, parent: parent?.config.id };
  });
}

function isParent(parent: ImageConfig, child: ImageConfig): boolean {
  if (parent.history.length === 0 && child.history.length === 0) return true;
  return isDeepStrictEqual(parent.history, child.history.slice(0, -1));
}

/**
 * Orders the images, each after its parent. A loop, which only images without history can form, is cut where
 * it closes.
 */
export function parentsFirst(images: readonly PlannedImage[]): PlannedImage[] {
  const waiting = new Map(images.map((image) => [image.config.id, image]));
  const ordered: PlannedImage[] = [];
  for (const image of images) {
    const stack: PlannedImage[] = [];
    for (let next: PlannedImage | undefined = image; next && waiting.delete(next.config.id);) {
      stack.push(next);
      next = next.parent && waiting.get(next.parent);
    }
    ordered.push(...stack.reverse());
  }
  const seen = new Set<ImageID>();
  return ordered.map((image) => {
    seen.add(image.config.id);
    return image.parent && !seen.has(image.parent) ? { ...image, parent: undefined } : image;
  });
}

/**
 * Returns whether the descriptor is for a document that BuildKit adds to images: provenance or a bill of
 * materials.
 */
export function isAttestation({ platform, annotations }: Descriptor): boolean {
  return (
    platform?.os === 'unknown' || annotations?.get('vnd.docker.reference.type') === 'attestation-manifest'
  );
}
