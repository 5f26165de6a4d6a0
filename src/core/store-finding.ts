/** What `fsck` finds in a store. Each folder checks what it owns (layer/check.ts, image/check.ts, container/check.ts). */

/** Every kind of finding. */
export const FINDING_CODES = [
  /** An entry of layerdb that does not count: dockerd hides its images, and cannot pull it again. */
  'layer-incomplete',
  /** The layer's tar cannot be rebuilt as it was: it can be used, but not saved or pushed. */
  'layer-damaged',
  /** `size` is not what the content takes. */
  'layer-size',
  /** `link`, `lower`, `committed` or the short name of a directory in overlay2 is missing or wrong. */
  'overlay-link',
  'overlay-lower',
  'overlay-committed',
  /** A short name that leads nowhere, or is none. */
  'link-dangling',
  /** A directory that nothing in the store refers to. */
  'overlay-orphan',
  /** A link, fifo, socket or device in the place of a file or directory of the store. */
  'entry-planted',
  /** What a killed dockerd or layerstack has not finished. */
  'unfinished',
  /** A change of images that was decided, and not carried out to its end. */
  'change-unfinished',
  /** A layer that was made for an image which did not come to be, or that has lost its last reference. */
  'layer-unused',
  'image-damaged',
  'image-incomplete',
  'image-metadata',
  'names-unreadable',
  'name-dangling',
  'name-spelling',
  /** docker's cache of which blob is which layer. */
  'distribution-cache',
  'container-incomplete',
  /** dockerd cannot decode a container's document, and so has no such container. */
  'container-undecodable',
  /** It keeps layers of an image from being removed, and is no container. */
  'mount-orphan',
  'mount-leftover',
  /** layerstack's index of container names. */
  'name-index',
] as const;

export type FindingCode = (typeof FINDING_CODES)[number];

/** `error`: something of the store cannot be used. `warning`: it can, but is not in order. `note`: good to know. */
export const SEVERITIES = ['error', 'warning', 'note'] as const;

export interface StoreFinding {
  readonly code: FindingCode;
  readonly severity: (typeof SEVERITIES)[number];
  /** Of the file or directory at fault, relative to the root. */
  readonly path: string;
  /** What is wrong. */
  readonly message: string;
  /** What to do; empty where a repair has done it. */
  readonly advice: string;
  /** It was wrong, and is in order now. */
  readonly repaired: boolean;
}

/** A finding of a check, and its repair where that can be done safely. */
export interface Problem extends Omit<StoreFinding, 'repaired'> {
  readonly repair?: (() => Promise<void>) | undefined;
}

/** Whether a finding means that the store is not in order. */
export function isWrong({ severity, repaired }: StoreFinding): boolean {
  return severity !== 'note' && !repaired;
}
