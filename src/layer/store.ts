/**
 * Image layers: find, stage, publish.
 */
import type { ChainID, DiffID } from '../core/digest.ts';
import type { LayerApplied, LayerLimits } from '../system/native.ts';
import type { Root } from '../system/root.ts';

/** A complete layer of the store. */
export interface Layer {
  readonly chainId: ChainID;
  readonly diffId: DiffID;
  readonly parent?: ChainID;
  readonly cacheId: string;
  /** Bytes of its own content, as docker counts them. */
  readonly size: number;
}

/** Where the bytes of a layer tar come from, compressed or not. The fd stays the caller's. */
export type LayerSource =
  { readonly fd: number; readonly offset: number; readonly size: number } | AsyncIterable<Uint8Array>;

export interface StageOptions {
  readonly limits: LayerLimits;
  readonly signal?: AbortSignal;
  /** Bytes of the source consumed so far. */
  readonly onProgress?: (bytes: number) => void;
  readonly expectedDiffId?: DiffID;
  /** For messages: the archive member, e.g. `blobs/sha256/…`. Default: the expected DiffID. */
  readonly name?: string;
}

/** A layer extracted and verified, but not yet in layerdb. Publish or discard it. */
export interface StagedLayer {
  readonly cacheId: string;
  /** `write-set-<digits>` */
  readonly writeSet: string;
  readonly applied: LayerApplied;
  readonly diffId: DiffID;
}

export interface PublishResult {
  /** The top ChainID of each image, in order; undefined for an image without layers. */
  readonly tops: (ChainID | undefined)[];
  /** For the user, e.g. that dockerd cannot use an image this deep. */
  readonly notices: string[];
}

export declare class LayerStore {
  constructor(root: Root);
  find(chainId: ChainID): Promise<Layer | undefined>;
  /** Several at once, in order, with bounded concurrency. */
  findAll(chainIds: readonly ChainID[]): Promise<(Layer | undefined)[]>;
  get(chainId: ChainID): Promise<Layer>;
  /** Top first. */
  chain(chainId: ChainID): Promise<Layer[]>;
  /** The `size` of each layer (undefined where there is none): cheap, for listings of thousands. */
  sizes(chainIds: readonly ChainID[]): Promise<(number | undefined)[]>;
  stage(source: LayerSource, options: StageOptions): Promise<StagedLayer>;
  /** A second copy, for a layer that is needed on two chains. */
  restage(layer: StagedLayer | Layer, options: StageOptions): Promise<StagedLayer>;
  /** Idempotent; no-op after publish. */
  discard(staged: StagedLayer): Promise<void>;
  /** Each inner list bottom to top. */
  publish(
    images: readonly (readonly (StagedLayer | Layer)[])[],
    options?: { readonly signal?: AbortSignal },
  ): Promise<PublishResult>;
}
