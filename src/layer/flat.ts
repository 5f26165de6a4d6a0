/**
 * Builds flat lowers, for kernels that mount only a single lower (3.18, 3.19). A flat lower merges all layers
 * of a chain by hard links, in `<root>/layerstack/flat/<chain hex>`, or in `<chain hex>-init` with the
 * content of an init layer on top. The init layer's content depends on the chain alone
 * (docs/docker-overlay2-store.md, "Init layer"), so all containers of an image share one flat lower. It is
 * built under a temporary name, then renamed. It may be deleted when it is not mounted.
 */
import { randomBytes } from 'node:crypto';
import { hexOf, type ChainID } from '../core/digest.ts';
import { LayerstackError } from '../core/errors.ts';
import { call, native } from '../system/native.ts';
import type { Root } from '../system/root.ts';
import type { Marker } from '../system/session.ts';
import { spaceError } from '../system/space.ts';
import { hasDirectory } from '../system/store-files.ts';
import { Overlay } from './overlay.ts';

/** Finds layers, as the layer store does. */
interface LayerIndex {
  get(chainId: ChainID): Promise<{ readonly cacheId?: string | undefined }>;
}

export interface FlatLowerOptions {
  /** The name in `overlay2` of an init layer on the chain, when its content belongs on top. */
  readonly initId?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Returns the flat lower of the chain. Builds it if it does not exist.
 * @returns its path relative to `overlay2`
 * @throws {@link LayerstackError} ERR_LAYER_NOT_FOUND, ERR_NO_SPACE, ERR_ABORTED; ERR_STORE_READ_ONLY when it
 *   does not exist and the root is open read-only.
 */
export async function flatLower(
  root: Root,
  layers: LayerIndex,
  chainId: ChainID,
  { initId, signal }: FlatLowerOptions = {},
): Promise<string> {
  const { layout } = root;
  const name = initId === undefined ? hexOf(chainId) : `${hexOf(chainId)}-init`;
  const built = (): boolean => hasDirectory(layout.at(layout.flat(name)));
  if (!built()) {
    const lock = await root.locks.acquire('layers', `flat ${name}`, { signal });
    try {
      if (!built()) await build(root, initId ?? (await classicTop(layers, chainId)), name);
    } catch (error) {
      throw spaceError(error, layout.root);
    } finally {
      await lock.release();
    }
  }
  return `../${layout.flat(name)}`;
}

async function classicTop(layers: LayerIndex, chainId: ChainID): Promise<string> {
  const { cacheId } = await layers.get(chainId);
  if (cacheId !== undefined) return cacheId;
  throw new LayerstackError(
    'ERR_UNSUPPORTED',
    'this kernel cannot mount packed layers: extract the image first (layerstack settle IMAGE)',
    { layer: chainId },
  );
}

async function build(root: Root, top: string, name: string): Promise<void> {
  const { layout } = root;
  const session = root.session();
  const temporary = `.tmp-${randomBytes(8).toString('hex')}`;
  const marker: Marker = `flat.${temporary}`;
  const lowers = (await new Overlay(layout).lowersOf(top)).map((lower) => `${layout.overlay2}/${lower}`);
  await session.mark([marker]);
  try {
    await call(native.flatten(layout.root, lowers, layout.flat(temporary)));
    await session.unmark([marker], [{ op: 'rename', from: layout.flat(temporary), to: layout.flat(name) }]);
  } catch (error) {
    await call(native.removeTree(layout.root, layout.flat(temporary)));
    await session.unmark([marker]);
    throw error;
  }
}
