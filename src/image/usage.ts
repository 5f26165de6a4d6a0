/**
 * Computes the disk usage of images. The sizes are those of layerdb: the lengths of a layer's files and
 * links, hard links once, without directories and metadata. They equal the sum of `find
 * overlay2/<cache-id>/diff ! -type d` by unique inode, and differ from `du` by directories and by the
 * rounding to blocks. A layer counts once, however many images have it. Mirrors `moby/moby:
 * daemon/images/{images,service}.go` at v20.10 (LayerDiskUsage, SharedSize).
 */
import type { ChainID, ImageID } from '../core/digest.ts';
import { chainIn, type LayerNode } from '../layer/graph.ts';
import type { CatalogEntry } from './catalog.ts';
import type { ImageUser } from './deletion.ts';
import type { ImageSummary } from './documents.ts';

/** The image part of a store's disk usage; all sizes in bytes. */
export interface ImageUsage {
  /** Bytes of the layers of all images. */
  readonly LayersSize: number;
  /** Bytes of them that `prune --all` would free: the layers of images that no container uses. */
  readonly Reclaimable: number;
  /** The listed images, with `SharedSize` (layers that another image has, too) and `Containers`. */
  readonly Images: readonly ImageSummary[];
  /** Bytes of the layers that belong to no image and no container. */
  readonly UnusedLayers: { readonly Count: number; readonly Size: number };
}

/** The users of a store's layers. */
export interface LayerUses {
  /** The images of `docker images`. */
  readonly images: readonly ImageSummary[];
  readonly users: readonly ImageUser[];
  /** The layers of containers, whose image may be deleted. */
  readonly kept: readonly ChainID[];
}

export function imageUsage(
  graph: ReadonlyMap<ChainID, LayerNode>,
  entries: readonly CatalogEntry[],
  { images, users, kept }: LayerUses,
): ImageUsage {
  const chainOf = chainsOf(graph, entries);
  const active = new Map<ImageID, number>();
  for (const { imageId } of users) if (imageId) active.set(imageId, (active.get(imageId) ?? 0) + 1);

  const ofImages = new Set(entries.flatMap(({ id }) => chainOf(id)));
  const inUse = new Set([
    ...[...active.keys()].flatMap(chainOf),
    ...kept.flatMap((chainId) => chainIn(graph, chainId)),
  ]);
  const unused = [...graph.values()].filter((layer) => !ofImages.has(layer) && !inUse.has(layer));
  return {
    LayersSize: sum(ofImages),
    Reclaimable: sum([...ofImages].filter((layer) => !inUse.has(layer))),
    Images: withSharedSizes(graph, entries, images).map((image) => ({
      ...image,
      Containers: active.get(image.Id) ?? 0,
    })),
    UnusedLayers: { Count: unused.length, Size: sum(unused) },
  };
}

/** Returns the images with `SharedSize`: the bytes of layers that another one of them has, too. */
export function withSharedSizes(
  graph: ReadonlyMap<ChainID, LayerNode>,
  entries: readonly CatalogEntry[],
  images: readonly ImageSummary[],
): ImageSummary[] {
  const chainOf = chainsOf(graph, entries);
  const counts = new Map<ChainID, number>();
  for (const { Id } of images)
    for (const { chainId } of chainOf(Id)) counts.set(chainId, (counts.get(chainId) ?? 0) + 1);
  return images.map((image) => ({
    ...image,
    SharedSize: sum(chainOf(image.Id).filter(({ chainId }) => (counts.get(chainId) ?? 0) > 1)),
  }));
}

/** Returns the existing layers of an image. */
function chainsOf(
  graph: ReadonlyMap<ChainID, LayerNode>,
  entries: readonly CatalogEntry[],
): (id: ImageID) => LayerNode[] {
  const tops = new Map(entries.map(({ id, top }) => [id, top]));
  return (id) => {
    const top = tops.get(id);
    return top ? chainIn(graph, top) : [];
  };
}

function sum(layers: Iterable<LayerNode>): number {
  let total = 0;
  for (const { size } of layers) total += size;
  return total;
}
