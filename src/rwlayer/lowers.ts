/** Finds the lowers of an RW layer for a mount. Only this file knows where lowers come from. */
import { dirname, join } from 'node:path';
import type { ChainID } from '../core/digest.ts';
import { isSystemError, LayerstackError } from '../core/errors.ts';
import { flatLower } from '../layer/flat.ts';
import { parseLowers } from '../layer/overlay.ts';
import { isClassic } from '../layer/layerdb.ts';
import { openChain } from '../layer/packed/chain.ts';
import { MAX_LAYERS } from '../layer/plan.ts';
import type { LayerStore } from '../layer/store.ts';
import type { Layout } from '../system/layout.ts';
import type { Root } from '../system/root.ts';
import { hasDirectory, readLink, readText } from '../system/store-files.ts';
import type { RwLayer } from './rwlayer.ts';
import { refuseFlat, sealedBelow } from './sealed.ts';

/** The lowers of a mount. They exist until this is disposed. An overlay that uses them keeps them mounted. */
export interface Lowers extends AsyncDisposable {
  /** Topmost (the init layer) first, relative to `overlay2`. */
  readonly list: readonly string[];
  /** Some are packed layers, so they are on other file systems than the upper. */
  readonly packed: boolean;
}

/**
 * Opens the lowers: those of `lower`, with the mounts of packed layers in place of their names, or one flat
 * tree if the kernel cannot stack them.
 * @throws {@link LayerstackError} ERR_STORE_CORRUPT when `lower` is missing, or names anything but short
 *   names, or a packed layer was changed; the errors of {@link flatLower}.
 */
export async function openLowers(
  root: Root,
  layers: LayerStore,
  layer: RwLayer,
  signal: AbortSignal | undefined,
): Promise<Lowers> {
  const { layout, caps } = root;
  if (caps.mountMethod === 'flat' && sealedBelow(layout, layer).length > 0) throw refuseFlat(layer);
  if (layer.parent !== undefined && (caps.mountMethod === 'flat' || isTooDeep(root, layer, layer.parent)))
    return constant([await flatLower(root, layers, layer.parent, { initId: layer.initId, signal })]);
  return openDirectories(root, layers, layer);
}

/**
 * Returns whether `lower` names the directories of all layers, unless another process packs them right now.
 * Then a mount can read `lower` itself.
 */
export function areNamed(root: Root, { parent }: RwLayer): boolean {
  return root.caps.mountMethod !== 'flat' && (parent === undefined || isClassic(root, parent));
}

/**
 * Does {@link openLowers} for a reader of the directories. A flat tree is not needed. dockerd gives short
 * names of its own to the packed layers that it extracts. Then some names in `lower` have no target, and the
 * layers' own files give the names.
 */
export async function openDirectories(root: Root, layers: LayerStore, layer: RwLayer): Promise<Lowers> {
  const names = namedLowers(root, layer);
  const areKnown = (): boolean => names.every((name) => isShortName(root.layout, name));
  if (layer.parent === undefined || (isClassic(root, layer.parent) && areKnown())) return constant(names);
  const chain = await openChain(root, layers, layer.parent);
  // The init layer is above the layers of the image.
  const own = names.slice(0, Math.max(0, names.length - chain.names.length));
  const { directories } = chain;
  return {
    list: [...own, ...directories],
    packed: chain.packed,
    [Symbol.asyncDispose]: () => chain[Symbol.asyncDispose](),
  };
}

/** Returns whether overlayfs cannot stack the lowers: an image of the greatest depth, and its init layer. */
function isTooDeep(root: Root, layer: RwLayer, parent: ChainID): boolean {
  return isClassic(root, parent) && namedLowers(root, layer).length > MAX_LAYERS;
}

function constant(list: readonly string[]): Lowers {
  return { list, packed: false, [Symbol.asyncDispose]: () => Promise.resolve() };
}

/** Returns whether each short name among the lowers leads to a layer. */
export function hasShortNames(layout: Layout, lowers: readonly string[]): boolean {
  return lowers.every((lower) => !lower.startsWith('l/') || isShortName(layout, lower));
}

function isShortName(layout: Layout, name: string): boolean {
  return readLink(layout.at(`${layout.overlay2}/${name}`)) !== undefined;
}

/** Reads `lower`. */
function namedLowers({ layout }: Root, layer: RwLayer): string[] {
  const path = layout.at(layout.overlay(layer.mountId, 'lower'));
  const text = readText(path)?.trim() ?? '';
  if (text === '')
    throw new LayerstackError(
      'ERR_STORE_CORRUPT',
      `the RW layer of ${layer.owner} does not name the layers below it: ${path} is missing or empty`,
      { id: layer.key, path },
    );
  return parseLowers(text, layout, layer.mountId);
}

/** Explains a failed mount. The kernel only reports ENOENT; this error names the missing layer. */
export function missingLower(
  layout: Layout,
  { key, owner }: RwLayer,
  lowers: readonly string[],
  cause: unknown,
): unknown {
  if (!isSystemError(cause, 'ENOENT', 'ELOOP', 'ENOTDIR')) return cause;
  const path = lowers
    .map((lower) => layout.at(`${layout.overlay2}/${lower}`))
    .find((each) => !hasDirectory(contentOf(each)));
  return path === undefined
    ? cause
    : new LayerstackError(
        'ERR_STORE_CORRUPT',
        `${owner} cannot be mounted: its layer ${path} is missing; load its image again`,
        { id: key, path, cause },
      );
}

/** Returns the directory that the short name of a lower leads to. */
function contentOf(lower: string): string {
  const target = readLink(lower);
  return target === undefined ? lower : join(dirname(lower), target);
}
