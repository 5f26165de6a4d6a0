/** Reads and checks the stack of a container whose upper is about to be sealed or copied. */
import { LayerstackError } from '../core/errors.ts';
import type { RwLayer } from '../rwlayer/rwlayer.ts';
import { lowerOf, overlayOf, refuseFlat, sealedBelow } from '../rwlayer/sealed.ts';
import type { Root } from '../system/root.ts';
import type { SnapshotRecord } from './record.ts';

/**
 * A root file system has at most this many lowers. dockerd accepts no more. Their short names fit into the
 * one page of options that mount(2) takes.
 */
const MAX_LOWERS = 128;

/** The stack of a container whose upper is about to be sealed. */
export interface SealedStack {
  /** The sealed uppers below the container, topmost first. */
  readonly sealed: readonly string[];
  /** Everything below the container, topmost first. */
  readonly lowers: readonly string[];
  /** The snapshot directly below. */
  readonly parent: string | undefined;
}

/** The input of a seal. */
export interface Sealing {
  readonly record: SnapshotRecord;
  readonly stack: SealedStack;
  readonly durable: boolean;
}

/**
 * Requires that a container can be put on top of one more sealed upper.
 * @param below - the number of lowers that it would have without this upper
 * @throws {@link LayerstackError} ERR_STORE_UNSUPPORTED where the kernel cannot mount a snapshot,
 *   ERR_UNSUPPORTED for a container without an init layer, ERR_LAYER_DEPTH when the stack is full.
 */
export function checkStack({ caps }: Root, layer: RwLayer, below: number): void {
  if (caps.mountMethod === 'flat') throw refuseFlat(layer);
  if (layer.initId === undefined)
    throw new LayerstackError(
      'ERR_UNSUPPORTED',
      `${layer.owner} has no init layer, so it cannot be sealed: commit it, and make a container of the image`,
      { id: layer.key },
    );
  if (below >= MAX_LOWERS)
    throw new LayerstackError(
      'ERR_LAYER_DEPTH',
      `${layer.owner} has ${below} layers below it, and at most ${MAX_LOWERS} can be mounted: ` +
        'commit it, and make a container of the image',
      { id: layer.key, limit: MAX_LOWERS },
    );
}

/**
 * Reads the stack of a container that is about to be sealed.
 * @throws {@link LayerstackError} ERR_STORE_CORRUPT for a damaged stack.
 */
export function readStack({ layout }: Root, layer: RwLayer): SealedStack {
  const lowers = lowerOf(layout, layer.mountId);
  const sealed = sealedBelow(layout, layer);
  const [top] = sealed;
  return { sealed, lowers, parent: top === undefined ? undefined : overlayOf(layout, top) };
}
