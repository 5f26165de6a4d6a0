/**
 * Where a push finds what an image was pulled as, where that was kept: its manifest and its blobs, byte for byte. What is
 * found here goes out as it came; every other image is compressed anew.
 */
import type { Descriptor } from '../../core/descriptor.ts';
import type { ImageID } from '../../core/digest.ts';
import type { ManifestDocument } from './manifest.ts';

/** An image as it was pulled. */
export interface KeptImage {
  readonly manifest: ManifestDocument;
  /** One descriptor for each layer, bottom to top. */
  readonly layers: readonly Descriptor[];
  /** The blob's bytes from an offset on. */
  open(blob: Descriptor, from: number): AsyncIterable<Uint8Array>;
}

export interface KeptImages {
  /** Undefined unless the manifest and all of its blobs are there. */
  find(id: ImageID, signal?: AbortSignal): Promise<KeptImage | undefined>;
}
