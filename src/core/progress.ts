/**
 * What long work tells about itself. Events are facts for a display or a log: they may be dropped without
 * loss, come in any order between layers, and in order within one layer.
 */
import type { DiffID, ImageID } from './digest.ts';

/** Which layer an event is about. At least one of the two is known. */
interface LayerEvent {
  readonly diffId?: DiffID;
  /** The archive member or file that the layer is read from. */
  readonly member?: string;
  /** Bytes read so far, as they are stored in the source (compressed where it is). */
  readonly current: number;
  /** Bytes to read, where the source tells. */
  readonly total?: number;
}

export type ProgressEvent =
  | (LayerEvent & { readonly type: 'layer-start' })
  | (LayerEvent & { readonly type: 'layer-progress' })
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
