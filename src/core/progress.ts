/**
 * The progress events of long work. Events are facts for a display or a log. A consumer may drop them. Events
 * of one layer come in order; events of different layers come in any order.
 */
import type { DiffID, Digest, ImageID } from './digest.ts';

/** Which layer an event is about. At least one of the three is known. */
interface LayerEvent {
  readonly diffId?: DiffID;
  /** The archive member or file that the layer is read from; in a pull, the blob's digest. */
  readonly member?: string;
  /** Digest of the layer as it is stored in the source, where a manifest gives it. */
  readonly blob?: Digest;
  /** Bytes read so far, as the source stores them (compressed or not). */
  readonly current: number;
  /** Bytes to read, where the source gives their number. */
  readonly total?: number;
}

/**
 * The phase of a layer in a pull, in this order. `verifying`: the bytes that an earlier pull has left are
 * hashed again. `downloading`: bytes arrive, and are hashed, inflated and extracted. `extracting`: all bytes
 * have arrived, and the last of them are being extracted.
 */
export type LayerPhase = 'verifying' | 'downloading' | 'extracting';

export type ProgressEvent =
  /**
   * The progress of the whole work, in bytes to read, fetch, send or save. `total` is missing where it is not
   * known beforehand (a stream, the tar of an export). In a push, layers that the registry turns out to have
   * are subtracted from both numbers.
   */
  | { readonly type: 'progress'; readonly current: number; readonly total?: number }
  /** The layer of a pull will be fetched when its turn comes. */
  | (LayerEvent & { readonly type: 'layer-waiting' })
  | (LayerEvent & { readonly type: 'layer-start' })
  | (LayerEvent & { readonly type: 'layer-progress'; readonly phase?: LayerPhase })
  /** The connection broke. The layer continues from `current` after a pause. */
  | (LayerEvent & { readonly type: 'layer-retry'; readonly delayMs: number; readonly message: string })
  /** The layer is extracted and verified, but not yet published. */
  | (LayerEvent & { readonly type: 'layer-done' })
  /** The store already has this layer on top of the same layers, so its bytes are not read. */
  | (LayerEvent & { readonly type: 'layer-exists' })
  /**
   * The image is durable. `references` are the names that now point to it; `created`: it is new in the store.
   */
  | {
      readonly type: 'image';
      readonly id: ImageID;
      readonly references: readonly string[];
      readonly created: boolean;
    }
  /**
   * A pull begins, from the repository that its registry calls `repository`. `id`: the tag, or the name with
   * its digest.
   */
  | {
      readonly type: 'pulling';
      readonly reference: string;
      readonly repository: string;
      readonly id: string;
    }
  /** Another pull, in any process, fetches the same image or parts of it. This pull waits for it. */
  | { readonly type: 'waiting'; readonly reference: string; readonly message: string }
  /**
   * The pull of one reference is durable. `digest`: of the manifest or index; `updated`: the store has
   * changed.
   */
  | {
      readonly type: 'pulled';
      readonly reference: string;
      readonly digest: Digest;
      readonly id: ImageID;
      readonly updated: boolean;
    }
  /** A push of the image with this name to the repository, whose registry calls it `repository`, begins. */
  | { readonly type: 'pushing'; readonly reference: string; readonly repository: string }
  /**
   * The layer is part of a push. It waits for its turn, or for the registry's answer whether it has the
   * layer.
   */
  | (LayerEvent & { readonly type: 'layer-preparing' })
  /** The registry has mounted the layer from another repository, so its bytes are not sent. */
  | (LayerEvent & { readonly type: 'layer-mounted'; readonly from: string })
  /** The image is in the registry. `digest` and `size` are the manifest's. */
  | {
      readonly type: 'pushed';
      readonly reference: string;
      readonly id: ImageID;
      readonly digest: Digest;
      readonly size: number;
    }
  /** A reference moved from one image to another. */
  | { readonly type: 'moved'; readonly reference: string; readonly previous: ImageID; readonly id: ImageID }
  /** Information for the user. It asks for no action. */
  | { readonly type: 'notice'; readonly message: string }
  /** A part of the input was dropped or changed, e.g. a smuggled xattr. */
  | {
      readonly type: 'warning';
      readonly code: string;
      readonly message: string;
      readonly member?: string;
      readonly diffId?: DiffID;
    };

/** Runs on the event loop. It must not throw, and should be quick. */
export type OnProgress = (event: ProgressEvent) => void;
