/**
 * Copies of layers as blobs: those that the store keeps, and those of the repositories that had the layer.
 */
import type { Descriptor } from '../../core/descriptor.ts';
import type { DiffID } from '../../core/digest.ts';
import { parseReference } from '../../core/reference.ts';
import { readConfigs } from '../../image/check.ts';
import type { Distribution } from '../../image/distribution.ts';
import type { OriginalImages } from '../../image/originals.ts';
import type { DamagedLayer, LayerSource, LayerStore } from '../../layer/store.ts';
import type { Root } from '../../system/root.ts';
import { DEFAULT_LIMITS } from '../ingest/layer-pool.ts';
import { DEFAULT_MAX_BYTES } from '../ingest/publish-images.ts';
import { Download } from '../pull/download.ts';
import type { PullSource } from '../pull/source.ts';
import type { LayerCopies, UseCopy } from './heal-layer.ts';

export interface BlobStores {
  readonly root: Root;
  readonly layers: Pick<LayerStore, 'stage' | 'discard'>;
  readonly originals: OriginalImages;
}

/** Opens a repository; the caller disposes it. */
export type OpenRepository = (repository: string) => PullSource & AsyncDisposable;

/** The blobs that `pull --keep-blobs` keeps. */
export class KeptCopies implements LayerCopies {
  readonly name = 'the folder of kept blobs';
  readonly #stores: BlobStores;
  readonly #signal: AbortSignal | undefined;

  constructor(stores: BlobStores, signal: AbortSignal | undefined) {
    this.#stores = stores;
    this.#signal = signal;
  }

  async copy({ diffId }: DamagedLayer, use: UseCopy): Promise<boolean> {
    const { blobs } = this.#stores.originals;
    const kept = (await blobsOf(this.#stores, diffId)).find((blob) => blobs.has(blob));
    if (kept === undefined) return false;
    await stageBlob(this.#stores, { source: blobs.read(kept), diffId, signal: this.#signal }, use);
    return true;
  }
}

/** The repositories from which the layer came. */
export class RegistryCopies implements LayerCopies {
  readonly name = 'the registries';
  readonly absent = 'no registry is known for it';
  readonly #stores: BlobStores;
  readonly #distribution: Pick<Distribution, 'sources'>;
  readonly #open: OpenRepository;
  readonly #signal: AbortSignal;

  constructor(
    stores: BlobStores,
    distribution: Pick<Distribution, 'sources'>,
    open: OpenRepository,
    signal: AbortSignal | undefined,
  ) {
    this.#stores = stores;
    this.#distribution = distribution;
    this.#open = open;
    this.#signal = signal ?? new AbortController().signal;
  }

  async copy({ diffId }: DamagedLayer, use: UseCopy): Promise<boolean> {
    const known = await blobsOf(this.#stores, diffId);
    // The latest is last.
    for (const { digest, repository } of (await this.#distribution.sources(diffId)).reverse()) {
      const blob = known.find((each) => each.digest === digest);
      if (blob === undefined) continue;
      await using source = this.#open(parseReference(repository).repository);
      const download = new Download(source, blob, { signal: this.#signal });
      await stageBlob(this.#stores, { source: download.bytes(), diffId, signal: this.#signal }, use);
      return true;
    }
    return false;
  }
}

/** Returns the blobs of the layer, by the manifests of the images that have it. */
async function blobsOf({ root, originals }: BlobStores, diffId: DiffID): Promise<Descriptor[]> {
  const found = new Map<string, Descriptor>();
  for (const { id, diffIds } of await readConfigs(root)) {
    const index = diffIds.indexOf(diffId);
    if (index < 0) continue;
    for (const { manifest } of await originals.manifests.manifests(id)) {
      const blob = manifest.layers[index];
      if (blob !== undefined) found.set(blob.digest, blob);
    }
  }
  return [...found.values()];
}

interface BlobCopy {
  readonly source: LayerSource;
  readonly diffId: DiffID;
  readonly signal: AbortSignal | undefined;
}

async function stageBlob(
  { layers }: BlobStores,
  { source, diffId, signal }: BlobCopy,
  use: UseCopy,
): Promise<void> {
  const limits = { ...DEFAULT_LIMITS, maxBytes: DEFAULT_MAX_BYTES };
  const staged = await layers.stage(source, { limits, signal, expectedDiffId: diffId });
  try {
    await use(staged);
  } finally {
    await layers.discard(staged);
  }
}
