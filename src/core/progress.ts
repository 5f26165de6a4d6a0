/**
 * What long work tells about itself. Events are facts for a display or a log: they may be dropped without
 * loss, come in any order between layers, and in order within one layer.
 */
import type { DiffID, Digest, ImageID } from './digest.ts';

/** Which layer an event is about. At least one of the three is known. */
interface LayerEvent {
  readonly diffId?: DiffID;
  /** The archive member or file that the layer is read from; of a pull, the blob's digest. */
  readonly member?: string;
  /** Digest of the layer as it is stored in the source, where a manifest tells. */
  readonly blob?: Digest;
  /** Bytes read so far, as they are stored in the source (compressed where it is). */
  readonly current: number;
  /** Bytes to read, where the source tells. */
  readonly total?: number;
}

/**
 * What is being done with a layer that is pulled: what an earlier pull has left of it is hashed again; its bytes come, are
 * hashed, inflated and extracted; all its bytes are there, and the last of them are being extracted.
 */
export type LayerPhase = 'verifying' | 'downloading' | 'extracting';

export type ProgressEvent =
  /**
   * How far the work as a whole is, in bytes: of what is to be read of an archive, to be fetched, sent or saved. Without `total`
   * where nobody knows how much it is (a stream; the tar of an export). In a push both become less by layers that are there already.
   */
  | { readonly type: 'progress'; readonly current: number; readonly total?: number }
  /** The layer of a pull will be fetched when its turn comes. */
  | (LayerEvent & { readonly type: 'layer-waiting' })
  | (LayerEvent & { readonly type: 'layer-start' })
  | (LayerEvent & { readonly type: 'layer-progress'; readonly phase?: LayerPhase })
  /** The connection broke; the layer goes on from `current` after a pause. */
  | (LayerEvent & { readonly type: 'layer-retry'; readonly delayMs: number; readonly message: string })
  /** Extracted and verified; not yet published. */
  | (LayerEvent & { readonly type: 'layer-done' })
  /** The store has this layer (on this chain) already: its bytes are not read. */
  | (LayerEvent & { readonly type: 'layer-exists' })
  /** The image is durable. `references` are the names that now point to it; `created`: it was not there before. */
  | {
      readonly type: 'image';
      readonly id: ImageID;
      readonly references: readonly string[];
      readonly created: boolean;
    }
  /** A pull begins, from the repository that its registry calls `repository`. `id`: the tag, or the name with its digest. */
  | {
      readonly type: 'pulling';
      readonly reference: string;
      readonly repository: string;
      readonly id: string;
    }
  /** Another process, or another call of this one, is pulling (parts of) the same image: its end is waited for. */
  | { readonly type: 'waiting'; readonly reference: string; readonly message: string }
  /** The pull of one reference is durable. `digest`: of the manifest or index; `updated`: the store has changed. */
  | {
      readonly type: 'pulled';
      readonly reference: string;
      readonly digest: Digest;
      readonly id: ImageID;
      readonly updated: boolean;
    }
  /** A push of the image with this name to the repository, whose registry calls it `repository`, begins. */
  | { readonly type: 'pushing'; readonly reference: string; readonly repository: string }
  /** The layer is one of a push; next it is asked for at the registry, or waits for its turn. */
  | (LayerEvent & { readonly type: 'layer-preparing' })
  /** The registry has taken the layer over from another repository: its bytes are not sent. */
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
  /** Worth a line to the user, needs no action. */
  | { readonly type: 'notice'; readonly message: string }
  /** Something of the input was dropped or changed, e.g. a smuggled xattr. */
  | {
      readonly type: 'warning';
      readonly code: string;
      readonly message: string;
      readonly member?: string;
      readonly diffId?: DiffID;
    };

/** Called on the event loop; must not throw, and should be quick. */
export type OnProgress = (event: ProgressEvent) => void;
