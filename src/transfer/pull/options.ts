/** Options, context and result of a pull. */
import type { Digest, ImageID } from '../../core/digest.ts';
import type { OnProgress } from '../../core/progress.ts';
import type { Distribution } from '../../image/distribution.ts';
import type { ImageStore } from '../../image/store.ts';
import type { LayerStore, StoreForm } from '../../layer/store.ts';
import type { Root } from '../../system/root.ts';
import type { LayerWarning } from '../ingest/publish-images.ts';
import type { PullSource } from './source.ts';

export interface PullOptions {
  /** `OS/ARCHITECTURE[/VARIANT]`. Default: the host's where the registry has several, else the only one. */
  readonly platform?: string | undefined;
  /** Pull every tag of the repository; the reference then has no tag. Default false. */
  readonly allTags?: boolean | undefined;
  /** Maximum layers fetched at once. Default 3. */
  readonly maxConcurrentDownloads?: number | undefined;
  /** Maximum uncompressed bytes of all layers of an image together. Default 1 TiB. */
  readonly maxBytes?: number | undefined;
  /**
   * Also keep the layers as they come, compressed. `save --format oci` and `push` then return the manifest
   * and the blobs that were pulled. Default false.
   */
  readonly keepBlobs?: boolean | undefined;
  /**
   * Reads the contents of the layers that the store has, and replaces damaged ones. Default false: then
   * missing, additional and resized files are noticed, without reading any content.
   */
  readonly check?: boolean | undefined;
  /**
   * `packed` keeps each layer as its tar, with an index that the kernel mounts: nothing is extracted, and
   * dockerd does not see the image until it is settled. `auto` does that, and settles the image in the
   * background, until `signal` ends that. Default: that of the store's `layerstack/settings.json`, or else
   * `classic`, Docker's form.
   */
  readonly form?: StoreForm | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
}

export interface PulledImage {
  readonly id: ImageID;
  /** The familiar name that was pulled, with its tag or digest. */
  readonly reference: string;
  /** Digest of the manifest, or of the index that led to it: `name@digest` names the image too. */
  readonly digest: Digest;
  /** True if the reference named another image before, or none. */
  readonly updated: boolean;
}

export interface PullResult {
  /** One image; with `allTags` one for each tag, in the registry's order. */
  readonly images: readonly PulledImage[];
  /** Lines for the user. */
  readonly notices: readonly string[];
  readonly warnings: readonly LayerWarning[];
}

export interface PullStores {
  readonly root: Root;
  readonly layers: Pick<
    LayerStore,
    | 'findAll'
    | 'isClassic'
    | 'isDamaged'
    | 'stage'
    | 'restage'
    | 'discard'
    | 'publish'
    | 'replace'
    | 'pin'
    | 'runInBackground'
  >;
  readonly images: Pick<ImageStore, 'add' | 'get' | 'references' | 'originals'>;
  readonly distribution: Pick<Distribution, 'add' | 'diffId'>;
}

/** The common parts of the pulls of one call. */
export interface PullContext {
  readonly stores: PullStores;
  /** The repository of the references. */
  readonly source: PullSource;
  readonly options: PullOptions;
}
