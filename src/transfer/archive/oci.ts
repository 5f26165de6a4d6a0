/**
 * Reads an OCI image layout, in an archive or a folder: `index.json` -> (nested indexes ->) manifests ->
 * config and layers, each blob as `blobs/sha256/H`. An image's name is the annotation
 * io.containerd.image.name (docker, BuildKit, containerd: the whole name), else
 * org.opencontainers.image.ref.name, which podman, buildah and skopeo fill with the whole name, umoci with a
 * tag.
 * Mirrors `opencontainers/image-spec: image-layout.md`.
 */
import {
  ANNOTATION_IMAGE_NAME,
  ANNOTATION_REF_NAME,
  artifactTypeOf,
  isConfigType,
  isIndexType,
  isManifestType,
  parseManifest,
  type Descriptor,
  type Manifest,
} from '../../core/descriptor.ts';
import { hexOf } from '../../core/digest.ts';
import { LayerstackError } from '../../core/errors.ts';
import { formatPlatform, hostPlatform, matchPlatform, type Platform } from '../../core/platform.ts';
import { parseReference, withDefaultTag, type Reference } from '../../core/reference.ts';
import { isImageConfig } from '../../image/config.ts';
import { findMember, readDocument, type Archive, type FoundMember } from './archive.ts';
import {
  inMember,
  isAttestation,
  noPlatform,
  planImage,
  platformOf,
  type Plan,
  type PlannedImage,
} from '../ingest/planned.ts';

export const OCI_INDEX = 'index.json';

/** Maximum nesting of indexes; real layouts have one level. */
const MAX_NESTING = 4;

/**
 * Maximum documents read from one archive, and maximum manifests that they lead to. More would be an attack
 * on memory.
 */
const MAX_READ = 1000;

/**
 * Plans the images of a layout.
 * @param wanted the platform to choose where one name has several; default: the host's
 * @throws {@link LayerstackError} ERR_MANIFEST_INVALID, ERR_ARCHIVE_MEMBER, ERR_CONFIG_INVALID,
 *   ERR_LAYER_COUNT, ERR_REFERENCE_INVALID, ERR_DIGEST_MISMATCH, ERR_PLATFORM_NOT_FOUND.
 */
export async function readOci(archive: Archive, wanted: Platform = hostPlatform()): Promise<Plan> {
  const reader = new OciReader(archive, wanted);
  const images = await reader.images();
  return { images, notices: reader.notices };
}

class OciReader {
  readonly notices: string[] = [];
  readonly #archive: Archive;
  readonly #wanted: Platform;
  #read = 0;
  #leavesFound = 0;

  constructor(archive: Archive, wanted: Platform) {
    this.#archive = archive;
    this.#wanted = wanted;
  }

  async images(): Promise<PlannedImage[]> {
    const { sourceName } = this.#archive;
    const bytes = await readDocument(this.#archive, 'the format', OCI_INDEX, 'ERR_MANIFEST_INVALID');
    const index = inMember(sourceName, OCI_INDEX, () => parseManifest(bytes, OCI_INDEX));
    if (index.kind !== 'index') throw this.#invalid(OCI_INDEX, 'is a manifest, not an index');
    const images: PlannedImage[] = [];
    for (const group of groupByName(index.manifests)) {
      const leaves: Descriptor[] = [];
      for (const descriptor of group) leaves.push(...(await this.#leaves(descriptor, MAX_NESTING)));
      const image = await this.#choose(leaves);
      if (image) images.push({ ...image, references: group[0] ? this.#references(group[0]) : [] });
    }
    if (images.length === 0) throw this.#invalid(OCI_INDEX, ['names no image', ...this.notices].join('; '));
    return images;
  }

  /**
   * Returns the manifests that a descriptor leads to, except those whose descriptors show that they are not
   * images.
   */
  async #leaves(descriptor: Descriptor, nesting: number): Promise<Descriptor[]> {
    const { mediaType } = descriptor;
    if (isAttestation(descriptor)) return [];
    if (isManifestType(mediaType)) return [this.#leaf(descriptor)];
    if (!isIndexType(mediaType) && mediaType !== '') {
      this.#skip(descriptor, mediaType);
      return [];
    }
    const document = await this.#document(descriptor);
    if (document.kind === 'manifest') return [this.#leaf(descriptor)];
    if (nesting === 0) throw this.#invalid(blobName(descriptor), 'is an index nested too deep');
    const leaves: Descriptor[] = [];
    for (const child of document.manifests) leaves.push(...(await this.#leaves(child, nesting - 1)));
    return leaves;
  }

  #leaf(descriptor: Descriptor): Descriptor {
    if (++this.#leavesFound > MAX_READ) throw this.#tooMany();
    return descriptor;
  }

  /**
   * Returns the image, among manifests of one name, that suits the platform; undefined where none is an
   * image.
   */
  async #choose(leaves: readonly Descriptor[]): Promise<Omit<PlannedImage, 'references'> | undefined> {
    // An archive of one platform may contain the index of all platforms.
    const present = leaves.filter((leaf) => this.#archive.members.find(blobName(leaf)));
    const [only, ...others] = present.length > 0 ? present : leaves;
    if (only === undefined) return undefined;
    if (others.length === 0) return this.#image(only);
    const suited = matchPlatform(
      present.filter(({ platform }) => platform),
      this.#wanted,
    );
    if (suited) return this.#image(suited);
    // Manifests whose descriptors have no platform are matched by their configs.
    const untold = [];
    for (const leaf of present.filter(({ platform }) => platform === undefined)) {
      const image = await this.#image(leaf);
      if (image) untold.push({ image, platform: platformOf(image.config) });
    }
    const found = matchPlatform(untold, this.#wanted);
    if (found) return found.image;
    const there = [
      ...present.flatMap(({ platform }) => platform ?? []),
      ...untold.map(({ platform }) => platform),
    ];
    if (there.length === 0) return undefined;
    throw noPlatform(this.#archive.sourceName, this.#wanted, there);
  }

  async #image(descriptor: Descriptor): Promise<Omit<PlannedImage, 'references'> | undefined> {
    const manifest = await this.#document(descriptor);
    const member = blobName(descriptor);
    if (manifest.kind !== 'manifest') throw this.#invalid(member, 'is an index where a manifest should be');
    const isImage = isConfigType(manifest.config.mediaType);
    if (isImage === 'yes' || (isImage === 'maybe' && (await this.#hasImageConfig(member, manifest))))
      return this.#planned(member, manifest);
    this.#skip(descriptor, artifactTypeOf(manifest));
    return undefined;
  }

  async #hasImageConfig(member: string, { config }: Manifest): Promise<boolean> {
    this.#find(config, member);
    try {
      return isImageConfig(await readDocument(this.#archive, member, blobName(config), 'ERR_CONFIG_INVALID'));
    } catch (error) {
      // An artifact's config may be any bytes, of any size.
      const isOther =
        LayerstackError.is(error) && ['ERR_CONFIG_INVALID', 'ERR_LIMIT_EXCEEDED'].includes(error.code);
      if (isOther) return false;
      throw error;
    }
  }

  async #planned(member: string, manifest: Manifest): Promise<Omit<PlannedImage, 'references'>> {
    this.#find(manifest.config, member);
    const configName = blobName(manifest.config);
    const raw = await readDocument(this.#archive, member, configName, 'ERR_CONFIG_INVALID');
    const layers = manifest.layers.map((blob) => ({ member: this.#find(blob, member), blob }));
    return planImage(this.#archive.sourceName, configName, raw, layers);
  }

  /** Reads a manifest or index, which must match its descriptor. */
  async #document(descriptor: Descriptor): Promise<ReturnType<typeof parseManifest>> {
    const { sourceName } = this.#archive;
    if (++this.#read > MAX_READ) throw this.#tooMany();
    this.#find(descriptor, OCI_INDEX);
    const name = blobName(descriptor);
    const bytes = await readDocument(this.#archive, OCI_INDEX, name, 'ERR_MANIFEST_INVALID');
    const document = inMember(sourceName, name, () => parseManifest(bytes, 'manifest'));
    const { mediaType = '' } = document;
    const kind = isIndexType(descriptor.mediaType) ? 'index' : 'manifest';
    // One digest must not mean two things to two readers (CVE-2021-41190).
    if (
      descriptor.mediaType !== '' &&
      (kind !== document.kind || !['', descriptor.mediaType].includes(mediaType))
    )
      throw this.#invalid(
        name,
        `has the type ${descriptor.mediaType} in its descriptor, but ${mediaType || document.kind} in itself`,
      );
    return document;
  }

  /** Finds the blob of a descriptor and checks its size against the descriptor. */
  #find(descriptor: Descriptor, namedBy: string): FoundMember {
    const member = findMember(this.#archive, namedBy, blobName(descriptor));
    const { size } = member.content;
    if (size === descriptor.size) return member;
    throw new LayerstackError(
      'ERR_DIGEST_MISMATCH',
      `${this.#archive.sourceName}: '${member.name}' has ${String(size)} bytes, but '${namedBy}' says ` +
        `${String(descriptor.size)}; the archive is damaged: save the image again`,
      { path: this.#archive.sourceName, member: member.name, expected: descriptor.size, found: size },
    );
  }

  #references({ annotations }: Descriptor): Reference[] {
    const text = annotations?.get(ANNOTATION_IMAGE_NAME) ?? annotations?.get(ANNOTATION_REF_NAME) ?? '';
    if (text === '') return [];
    if (!annotations?.has(ANNOTATION_IMAGE_NAME) && !/[/:@]/.test(text)) {
      this.notices.push(
        `The archive names an image only '${text}', a tag without a repository: name it with the verb tag`,
      );
      return [];
    }
    const { repository, tag, digest } = inMember(this.#archive.sourceName, OCI_INDEX, () =>
      parseReference(text),
    );
    if (tag === undefined && digest !== undefined) {
      this.notices.push(`The archive names an image only by digest, '${text}': name it with the verb tag`);
      return [];
    }
    return [withDefaultTag({ repository, ...(tag !== undefined && { tag }) })];
  }

  #skip({ digest }: Descriptor, mediaType: string): void {
    this.notices.push(`Skipped ${digest}: ${mediaType} is not an image`);
  }

  #tooMany(): LayerstackError {
    return this.#invalid(OCI_INDEX, `leads to more than ${String(MAX_READ)} manifests`);
  }

  #invalid(member: string, what: string): LayerstackError {
    const { sourceName } = this.#archive;
    return new LayerstackError('ERR_MANIFEST_INVALID', `${sourceName}: '${member}' ${what}`, {
      path: sourceName,
      member,
    });
  }
}

function blobName({ digest }: Descriptor): string {
  return `blobs/sha256/${hexOf(digest)}`;
}

/**
 * Groups the descriptors of one image: those with the same name. Each descriptor without a name is an image
 * of its own, unless all of these differ in platform; then they are one image.
 */
function groupByName(descriptors: readonly Descriptor[]): Descriptor[][] {
  const groups = new Map<string, Descriptor[]>();
  for (const descriptor of descriptors) {
    const { annotations } = descriptor;
    const key = annotations?.get(ANNOTATION_IMAGE_NAME) ?? annotations?.get(ANNOTATION_REF_NAME) ?? '';
    groups.set(key, [...(groups.get(key) ?? []), descriptor]);
  }
  const unnamed = groups.get('') ?? [];
  const platforms = new Set(unnamed.flatMap(({ platform }) => (platform ? formatPlatform(platform) : [])));
  if (platforms.size === unnamed.length) return [...groups.values()];
  groups.delete('');
  return [...groups.values(), ...unnamed.map((descriptor) => [descriptor])];
}
