/**
 * Store -> image archive, as a stream. It makes no temporary copy and reads nothing before the reader asks.
 * Layers are rebuilt from their tar-split byte for byte and verified on the way, so image ids survive. Each
 * layer is written once, however many images share it. The same images and names always give the same bytes.
 * The archive holds:
 *
 *   blobs/sha256/H   configs, layers (uncompressed, named by DiffID), OCI manifests; sorted
 *                    format `oci`: the pulled layers and manifest instead, where the store kept them
 *   index.json, oci-layout                      OCI layout
 *   manifest.json, repositories                 docker's; not with format `oci`
 */
import { Readable } from 'node:stream';
import { throwIfAborted } from '../../core/abort.ts';
import { compareBytes } from '../../core/bytes.ts';
import { digestOf, type DiffID, type Digest, type ImageID } from '../../core/digest.ts';
import type { OnProgress } from '../../core/progress.ts';
import { Tally } from '../../core/tally.ts';
import type { OriginalImage } from '../../image/originals.ts';
import type { ImageStore } from '../../image/store.ts';
import type { LayerStore } from '../../layer/store.ts';
import {
  blobPath,
  dockerManifest,
  OCI_LAYOUT_DOCUMENT,
  ociIndex,
  ociManifest,
  repositoriesDocument,
} from './save-documents.ts';
import { selectImages, type SelectedImage } from './save-select.ts';
import { packTar, packTarTo, type TarMember, type Written } from './tar-writer.ts';

/** `docker`: the format of docker >= 25, which is an OCI layout too. `oci`: the OCI layout alone. */
export type SaveFormat = 'docker' | 'oci';

export interface SaveOptions {
  /** Default `docker`. */
  readonly format?: SaveFormat | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
}

export interface SaveRequest extends SaveOptions {
  /** Is called for each image when the whole archive has been read. */
  readonly onSaved?: (id: ImageID) => Promise<void>;
}

export interface SaveStores {
  readonly layers: Pick<LayerStore, 'chain' | 'pin' | 'tar' | 'tarSize' | 'writeTar'>;
  readonly images: Pick<ImageStore, 'get' | 'resolve' | 'readableReferences' | 'parent' | 'originals'>;
}

/**
 * Yields the archive of the images that `names` select: references, ids, or repositories, which select all
 * their tags.
 * @throws {@link LayerstackError} (while iterating) ERR_IMAGE_NOT_FOUND, ERR_ID_AMBIGUOUS,
 *   ERR_REFERENCE_INVALID, ERR_LAYER_NOT_FOUND; ERR_STORE_CORRUPT, which names layer and file, when another
 *   program has changed a file; ERR_ABORTED.
 */
export function save(
  stores: SaveStores,
  names: readonly string[],
  options: SaveRequest = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  return archive(stores, names, options, packTar);
}

/**
 * Writes the same archive to an open file. The bytes of layers do not pass through JavaScript's memory.
 * @throws as {@link save}; system errors of write(2).
 */
export async function saveTo(
  fd: number,
  stores: SaveStores,
  names: readonly string[],
  options: SaveRequest = {},
): Promise<void> {
  const parts = archive(stores, names, options, (members) => packTarTo(fd, members, options.signal));
  while ((await parts.next()).done !== true);
}

async function* archive<Part>(
  stores: SaveStores,
  names: readonly string[],
  options: SaveRequest,
  pack: (members: readonly TarMember[]) => AsyncIterable<Part>,
): AsyncGenerator<Part, void, undefined> {
  const { signal, onSaved } = options;
  throwIfAborted(signal);
  const { images, pin } = await pinImages(stores, names, signal);
  await using _held = pin;
  for await (const part of pack(await members(stores, images, options))) {
    throwIfAborted(signal);
    yield part;
  }
  for (const { config } of images) await onSaved?.(config.id);
}

/**
 * Resolves the images and pins their layers. Images may be deleted until the pin holds, so they are resolved
 * again after it.
 */
export async function pinImages(
  stores: SaveStores,
  names: readonly string[],
  signal: AbortSignal | undefined,
): Promise<{ readonly images: readonly SelectedImage[]; readonly pin: AsyncDisposable }> {
  const topsOf = (images: readonly SelectedImage[]): string[] =>
    images.flatMap(({ config, layers }) => [config.id, layers.at(-1)?.chainId ?? '']);
  for (;;) {
    const images = await selectImages(stores, names);
    const tops = images.flatMap(({ layers }) => layers.at(-1)?.chainId ?? []);
    const pin = await stores.layers.pin(tops, { signal });
    let kept = false;
    try {
      kept = topsOf(await selectImages(stores, names)).join() === topsOf(images).join();
      if (kept) return { images, pin };
    } finally {
      if (!kept) await pin[Symbol.asyncDispose]();
    }
  }
}

async function members(
  stores: SaveStores,
  images: readonly SelectedImage[],
  { format = 'docker', onProgress }: SaveOptions,
): Promise<TarMember[]> {
  const kept = new Map<SelectedImage, OriginalImage>();
  for (const image of format === 'oci' ? images : []) {
    const found = await stores.images.originals.find(image.config.id);
    if (found) kept.set(image, found);
  }
  const rebuilt = images.filter((image) => !kept.has(image));
  const sizes = await sizesOf(stores, rebuilt);

  const blobs = new Map<string, TarMember>();
  const tally = new Tally<string>(onProgress);
  const add = (member: TarMember): void => void blobs.set(member.name, member);
  for (const { config, layers } of rebuilt) {
    for (const layer of layers) {
      if (blobs.has(blobPath(layer.diffId))) continue;
      const size = sizes.get(layer.diffId) ?? 0;
      const name = blobPath(layer.diffId);
      const reported = reporting({ name, diffId: layer.diffId, total: size }, tally, onProgress);
      const content = {
        size,
        open: () => reported(stores.layers.tar(layer)),
        writeTo: (fd: number) => reported(stores.layers.writeTar(layer, fd)),
      };
      add({ name, mtime: createdAt(config), content });
    }
  }
  for (const [{ config, layers }, original] of kept) {
    for (const [at, blob] of original.layers.entries()) {
      const diffId = layers[at]?.diffId;
      const name = blobPath(blob.digest);
      const reported = reporting({ name, diffId, total: blob.size }, tally, onProgress);
      const open = () => reported(original.open(blob, 0));
      add({ name, mtime: createdAt(config), content: { size: blob.size, open } });
    }
  }
  const manifests = images.map((image) => kept.get(image)?.manifest ?? ociManifest(image, sizes));
  for (const { config } of images) add(document(blobPath(config.id), config.raw, createdAt(config)));
  for (const { bytes } of manifests) add(document(blobPath(digestOf(bytes)), bytes));

  const repositories = repositoriesDocument(images);
  return [
    directory('blobs/'),
    directory('blobs/sha256/'),
    ...[...blobs.values()].sort((a, b) => compareBytes(a.name, b.name)),
    document('index.json', ociIndex(images, manifests)),
    ...(format === 'docker' ? [document('manifest.json', dockerManifest(images, sizes))] : []),
    document('oci-layout', OCI_LAYOUT_DOCUMENT),
    ...(format === 'docker' && repositories !== undefined ? [document('repositories', repositories)] : []),
  ];
}

/** Returns the bytes of each layer's tar. */
async function sizesOf(stores: SaveStores, images: readonly SelectedImage[]): Promise<Map<Digest, number>> {
  const distinct = new Map(
    images.flatMap(({ layers }) => layers.map((layer) => [layer.diffId, layer] as const)),
  );
  return new Map(
    await Promise.all(
      [...distinct].map(async ([diffId, layer]) => [diffId, await stores.layers.tarSize(layer)] as const),
    ),
  );
}

/** An image without a date gets 1970, as in docker's documents. */
function createdAt({ created }: SelectedImage['config']): number {
  return Math.max(0, created?.unix ?? 0);
}

function directory(name: string): TarMember {
  return { name, mtime: 0 };
}

function document(name: string, text: string | Uint8Array, mtime = 0): TarMember {
  const bytes = Buffer.from(text);
  return { name, mtime, content: { size: bytes.length, open: () => Readable.from([bytes]) } };
}

interface ReportedLayer {
  readonly name: string;
  readonly diffId: DiffID | undefined;
  readonly total: number;
}

/** Passes the pieces of a layer on, and reports progress. */
function reporting(
  { name, diffId, total }: ReportedLayer,
  tally: Tally<string>,
  onProgress: OnProgress | undefined,
): <Part extends Written>(tar: AsyncIterable<Part>) => AsyncGenerator<Part, void, undefined> {
  const layer = { ...(diffId !== undefined && { diffId }), total };
  tally.expect(name, total);
  return async function* (tar) {
    let current = 0;
    onProgress?.({ type: 'layer-start', ...layer, current });
    for await (const part of tar) {
      yield part;
      current += part.length;
      onProgress?.({ type: 'layer-progress', ...layer, current });
      tally.at(name, current);
    }
    onProgress?.({ type: 'layer-done', ...layer, current });
  };
}
