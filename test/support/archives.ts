/**
 * Image archives of every era, as lists of tar members. Tests reorder, drop or falsify members before they
 * pack them (`tar(items)`) or write them as a folder (`writeFolder`).
 */
import { mkdir, link, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { digestOf, hexOf, type Digest } from '../../src/core/digest.ts';
import type { TestImage, TestLayer } from './images.ts';
import type { TarItem, TarMember } from './tar.ts';

const OCI = 'application/vnd.oci.image';
const DOCKER = 'application/vnd.docker';

type Json = Readonly<Record<string, unknown>>;

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

export interface DockerOptions {
  /** How a layer that an earlier image has too is written. `docker save` before 25 writes a symbolic link. */
  readonly shared?: 'symlink' | 'hardlink' | 'copy';
  /** Omits the `repositories` file, as skopeo, podman and crane do. */
  readonly withoutRepositories?: boolean;
  readonly compress?: (tar: Buffer) => Buffer;
}

/**
 * The format of `docker save` 1.10 to 24: `<id>/{VERSION,json,layer.tar}`, `<id>.json`, `manifest.json`,
 * `repositories`.
 */
export function dockerArchive(images: readonly TestImage[], options: DockerOptions = {}): TarItem[] {
  const { shared = 'symlink', compress = (bytes) => bytes } = options;
  const items: TarMember[] = [];
  const written = new Map<string, string>();
  const manifest: Json[] = [];
  const repositories: Record<string, Record<string, string>> = {};
  for (const image of images) {
    const members = image.layers.map((layer, depth) => {
      const id = hexOf(digestOf(`v1 ${String(image.chain[depth])} ${image.id}`));
      const name = `${id}/layer.tar`;
      const seen = written.get(layer.diffId);
      written.set(layer.diffId, seen ?? name);
      const target = shared === 'symlink' ? `../${seen ?? ''}` : (seen ?? '');
      items.push(
        { name: `${id}/`, type: 'directory' },
        { name: `${id}/VERSION`, content: '1.0' },
        { name: `${id}/json`, content: json({ id }) },
        seen === undefined || shared === 'copy'
          ? { name, content: compress(layer.tar) }
          : { name, type: shared, linkname: target },
      );
      return name;
    });
    items.push({ name: `${hexOf(image.id)}.json`, content: image.config });
    manifest.push(manifestItem(image, `${hexOf(image.id)}.json`, members));
    addNames(repositories, image, members.at(-1)?.split('/')[0] ?? '');
  }
  items.push({ name: 'manifest.json', content: json(manifest) });
  if (options.withoutRepositories !== true && Object.keys(repositories).length > 0)
    items.push({ name: 'repositories', content: json(repositories) });
  return items;
}

/**
 * The format of `docker save` 25 and later: an OCI layout with uncompressed layers, and a `manifest.json`.
 */
export function docker25Archive(images: readonly TestImage[]): TarItem[] {
  const blobs = new Blobs();
  const manifest: Json[] = [];
  const repositories: Record<string, Record<string, string>> = {};
  const index: Json[] = [];
  for (const image of images) {
    const layers = image.layers.map(({ tar }) => ({ mediaType: `${OCI}.layer.v1.tar`, ...blobs.add(tar) }));
    const config = { mediaType: `${OCI}.config.v1+json`, ...blobs.add(image.config) };
    const document = { schemaVersion: 2, mediaType: `${OCI}.manifest.v1+json`, config, layers };
    const descriptor = { mediaType: document.mediaType, ...blobs.add(json(document)) };
    blobs.add(json({ id: image.id, note: 'a v1 config that nothing names' }));
    for (const tag of image.tags)
      index.push({ ...descriptor, annotations: { 'io.containerd.image.name': canonical(tag) } });
    const sources = Object.fromEntries(image.layers.map(({ diffId }, at) => [diffId, layers[at]]));
    manifest.push({
      ...manifestItem(
        image,
        blobName(image.id),
        image.layers.map(({ diffId }) => blobName(diffId)),
      ),
      LayerSources: sources,
    });
    addNames(repositories, image, hexOf(image.layers.at(-1)?.diffId ?? image.id));
  }
  return [
    ...blobs.items(),
    { name: 'index.json', content: json({ schemaVersion: 2, manifests: index }) },
    { name: 'manifest.json', content: json(manifest) },
    OCI_LAYOUT,
    { name: 'repositories', content: json(repositories) },
  ];
}

/** Docker's first format: a directory for each layer. `repositories` names the top layer. */
export function v1Archive(image: TestImage): TarItem[] {
  const items: TarMember[] = [];
  let parent: string | undefined;
  for (const [depth, layer] of image.layers.entries()) {
    const id = hexOf(digestOf(`v1 ${String(image.chain[depth])}`));
    const document = {
      id,
      ...(parent !== undefined && { parent }),
      created: '2014-01-02T03:04:05.678Z',
      container_config: { Cmd: ['/bin/sh', '-c', `step ${String(depth)}`] },
      docker_version: '1.9.0',
      config: { Cmd: ['/bin/sh'] },
      architecture: 'amd64',
      os: 'linux',
      Size: layer.tar.length,
    };
    items.push(
      { name: `${id}/`, type: 'directory' },
      { name: `${id}/VERSION`, content: '1.0' },
      { name: `${id}/json`, content: json(document) },
      { name: `${id}/layer.tar`, content: layer.tar },
    );
    parent = id;
  }
  const repositories: Record<string, Record<string, string>> = {};
  addNames(repositories, image, parent ?? '');
  return [...items, { name: 'repositories', content: json(repositories) }];
}

export interface OciOptions {
  readonly mediaTypes?: 'oci' | 'docker';
  readonly compress?: (tar: Buffer) => Buffer;
  /** The annotation that holds the name. skopeo, podman: `ref`; BuildKit: `containerd`. */
  readonly names?: 'ref' | 'containerd';
  /**
   * One name for all images, as platforms of one multi-platform image: in a nested index, with an
   * attestation.
   */
  readonly multiPlatform?: string;
  /** Edits each manifest before it is written. */
  readonly manifest?: (document: Json) => unknown;
  /** Edits the index before it is written. */
  readonly index?: (document: Json) => unknown;
}

/** An OCI image layout in the forms of skopeo, podman, buildah, umoci and BuildKit. */
export function ociArchive(images: readonly TestImage[], options: OciOptions = {}): TarItem[] {
  const { mediaTypes = 'oci', compress = gzipSync, names = 'ref', multiPlatform } = options;
  const types =
    mediaTypes === 'oci'
      ? {
          manifest: `${OCI}.manifest.v1+json`,
          config: `${OCI}.config.v1+json`,
          layer: `${OCI}.layer.v1.tar+gzip`,
        }
      : {
          manifest: `${DOCKER}.distribution.manifest.v2+json`,
          config: `${DOCKER}.container.image.v1+json`,
          layer: `${DOCKER}.image.rootfs.diff.tar.gzip`,
        };
  const annotation = names === 'ref' ? 'org.opencontainers.image.ref.name' : 'io.containerd.image.name';
  const blobs = new Blobs();
  const packed = new Map<TestLayer, Buffer>();
  const manifests: Json[] = [];
  for (const image of images) {
    const layers = image.layers.map((layer) => {
      const bytes = packed.get(layer) ?? compress(layer.tar);
      packed.set(layer, bytes);
      return { mediaType: types.layer, ...blobs.add(bytes) };
    });
    const document = {
      schemaVersion: 2,
      mediaType: types.manifest,
      config: { mediaType: types.config, ...blobs.add(image.config) },
      layers,
    };
    const descriptor = {
      mediaType: types.manifest,
      ...blobs.add(json(options.manifest?.(document) ?? document)),
    };
    if (multiPlatform !== undefined) {
      manifests.push({ ...descriptor, platform: image.platform });
      const attestation = {
        ...document,
        config: { mediaType: types.config, ...blobs.add(json({ rootfs: {} })) },
      };
      manifests.push({
        ...{ mediaType: types.manifest, ...blobs.add(json({ ...attestation, layers: [] })) },
        platform: { os: 'unknown', architecture: 'unknown' },
        annotations: { 'vnd.docker.reference.type': 'attestation-manifest' },
      });
    } else if (image.tags.length === 0) manifests.push(descriptor);
    for (const tag of multiPlatform === undefined ? image.tags : [])
      manifests.push({ ...descriptor, annotations: { [annotation]: canonical(tag) } });
  }
  const nested = { schemaVersion: 2, mediaType: `${OCI}.index.v1+json`, manifests };
  const top =
    multiPlatform === undefined
      ? { schemaVersion: 2, manifests }
      : {
          schemaVersion: 2,
          manifests: [
            {
              ...{ mediaType: nested.mediaType, ...blobs.add(json(nested)) },
              annotations: { [annotation]: canonical(multiPlatform) },
            },
          ],
        };
  return [...blobs.items(), { name: 'index.json', content: json(options.index?.(top) ?? top) }, OCI_LAYOUT];
}

/** Writes the members below an existing directory. */
export async function writeFolder(directory: string, items: readonly TarItem[]): Promise<void> {
  for (const item of items) {
    if (!('type' in item || 'content' in item)) continue;
    const { type = 'file', content = '', linkname = '' } = item;
    const path = join(directory, String(item.name));
    await mkdir(type === 'directory' ? path : dirname(path), { recursive: true });
    if (type === 'symlink') await symlink(String(linkname), path);
    else if (type === 'hardlink') await link(join(directory, String(linkname)), path);
    else if (type === 'file') await writeFile(path, content);
  }
}

const OCI_LAYOUT: TarMember = { name: 'oci-layout', content: '{"imageLayoutVersion": "1.0.0"}' };

/** The blobs of a layout, without duplicates. */
class Blobs {
  readonly #blobs = new Map<string, Buffer>();

  add(bytes: Buffer): { readonly digest: Digest; readonly size: number } {
    const digest = digestOf(bytes);
    this.#blobs.set(blobName(digest), bytes);
    return { digest, size: bytes.length };
  }

  items(): TarMember[] {
    return [
      { name: 'blobs/', type: 'directory' },
      { name: 'blobs/sha256/', type: 'directory' },
      ...[...this.#blobs].map(([name, content]) => ({ name, content })),
    ];
  }
}

function blobName(digest: Digest): string {
  return `blobs/sha256/${hexOf(digest)}`;
}

function manifestItem(image: TestImage, config: string, layers: readonly string[]): Json {
  return {
    Config: config,
    RepoTags: image.tags.length === 0 ? null : image.tags,
    Layers: layers,
    ...(image.parent && { Parent: image.parent.id }),
  };
}

function addNames(repositories: Record<string, Record<string, string>>, image: TestImage, id: string): void {
  for (const tag of image.tags) {
    const colon = tag.lastIndexOf(':');
    (repositories[tag.slice(0, colon)] ??= {})[tag.slice(colon + 1)] = id;
  }
}

function canonical(tag: string): string {
  return tag.includes('/') ? `docker.io/${tag}` : `docker.io/library/${tag}`;
}
