/**
 * The findings of `fsck`. Each folder checks its own objects (layer/check.ts, image/check.ts,
 * container/check.ts).
 */

/** Every kind of finding. */
export const FINDING_CODES = [
  /** An invalid entry of layerdb: dockerd hides its images, and cannot pull the layer again. */
  'layer-incomplete',
  /**
   * The layer does not have the content that its DiffID names: contents differ, or entries are missing or
   * additional; or its original tar cannot be rebuilt.
   */
  'layer-damaged',
  /** Modes, owners, times or attributes of a layer's files differ from those in its tar. */
  'layer-metadata',
  /** `size` differs from the size of the content. */
  'layer-size',
  /** The index of a packed layer is not the one that was written. */
  'layer-index',
  /** `link`, `lower`, `committed` or the short name of a directory in overlay2 is missing or wrong. */
  'overlay-link',
  'overlay-lower',
  'overlay-committed',
  /** A short name that leads nowhere, or is malformed. */
  'link-dangling',
  /** A directory to which nothing in the store refers. */
  'overlay-orphan',
  /** A link, fifo, socket or device where the store has a file or directory. */
  'entry-planted',
  /** Work that a killed dockerd or layerstack has left unfinished. */
  'unfinished',
  /** A change of images that was interrupted after the rename that decides it. */
  'change-unfinished',
  /** A layer of an image that was never completed, or a layer that has lost its last reference. */
  'layer-unused',
  'image-damaged',
  'image-incomplete',
  'image-metadata',
  'names-unreadable',
  'name-dangling',
  'name-spelling',
  /** docker's cache that maps blobs to layers. */
  'distribution-cache',
  'container-incomplete',
  /** A snapshot without its files, its entry, a readable record or a snapshot below it. */
  'snapshot-incomplete',
  /** dockerd cannot decode a document of a container, so it does not list the container. */
  'container-undecodable',
  /**
   * An entry in layerdb/mounts without a container, which keeps the layers of an image from being removed.
   */
  'mount-orphan',
  'mount-leftover',
  /** layerstack's index of container names. */
  'name-index',
] as const;

export type FindingCode = (typeof FINDING_CODES)[number];

/**
 * `error`: an object cannot be used. `warning`: it can be used, but has a problem. `note`: information only.
 */
export const SEVERITIES = ['error', 'warning', 'note'] as const;

export interface StoreFinding {
  readonly code: FindingCode;
  readonly severity: (typeof SEVERITIES)[number];
  /** The path of the file or directory at fault, relative to the root. */
  readonly path: string;
  /** The problem. */
  readonly message: string;
  /** The advice; empty where the problem is repaired. */
  readonly advice: string;
  /** The problem was found and is repaired now. */
  readonly repaired: boolean;
}

/** A finding of a check, with its repair where a safe one exists. */
export interface Problem extends Omit<StoreFinding, 'repaired'> {
  readonly repair?: (() => Promise<void>) | undefined;
}

/** Returns whether a finding is an unrepaired problem, not only information. */
export function isWrong({ severity, repaired }: StoreFinding): boolean {
  return severity !== 'note' && !repaired;
}
