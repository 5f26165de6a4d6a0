/**
 * Finds the directories of a chain of layers, whatever their form. Packed layers are above the others in a
 * chain: an extracted layer has only extracted ones below it.
 */
import type { ChainID } from '../../core/digest.ts';
import { isSystemError } from '../../core/errors.ts';
import type { Root } from '../../system/root.ts';
import { Overlay } from '../overlay.ts';
import type { LayerStore } from '../store.ts';
import type { PackedLayer } from './entry.ts';

export interface OpenChain extends AsyncDisposable {
  /** The short names of the layers, topmost first, as `lower` of an RW layer has them. */
  readonly names: readonly string[];
  /**
   * The directories with their contents, in the same order, relative to `overlay2`. Those of packed layers
   * exist until this is disposed. An overlay that uses them keeps them mounted.
   */
  readonly directories: readonly string[];
  /** Some of the layers are packed. */
  readonly packed: boolean;
}

/**
 * Another process may extract or pack the image during the read. Then the read starts again. After this many
 * attempts it fails.
 */
const TRIES = 5;

/**
 * Opens the chain whose topmost layer is `top`.
 * @throws {@link LayerstackError} ERR_LAYER_NOT_FOUND; ERR_STORE_CORRUPT; ERR_UNSUPPORTED where the kernel
 *   cannot mount packed layers.
 */
export async function openChain(
  root: Root,
  layers: Pick<LayerStore, 'chain'>,
  top: ChainID,
): Promise<OpenChain> {
  for (let tries = 1; ; ++tries) {
    try {
      return await open(root, layers, top);
    } catch (error) {
      if (tries === TRIES || !isSystemError(error, 'ENOENT')) throw error;
    }
  }
}

async function open(root: Root, layers: Pick<LayerStore, 'chain'>, top: ChainID): Promise<OpenChain> {
  const chain = await layers.chain(top);
  const packed = chain.filter((layer): layer is PackedLayer => layer.packed === true);
  const classic = chain.find((layer) => layer.packed === undefined);
  const below =
    classic?.cacheId === undefined ? [] : await new Overlay(root.layout).lowersOf(classic.cacheId);
  if (packed.length === 0)
    return {
      names: below,
      directories: below,
      packed: false,
      [Symbol.asyncDispose]: () => Promise.resolve(),
    };
  const { mountPacked } = await import('./mount.ts');
  const mounted = await mountPacked(root, packed);
  return {
    names: [...packed.map(({ link }) => `l/${link}`), ...below],
    directories: [...mounted.lowers, ...below],
    packed: true,
    [Symbol.asyncDispose]: () => mounted[Symbol.asyncDispose](),
  };
}
