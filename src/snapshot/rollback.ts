/**
 * Puts a container back to a snapshot: prepares a directory with a fresh upper on top of the snapshot, and
 * exchanges it with the container's by one rename. The container keeps its id, its name and its path. A kill
 * or a power cut leaves the old root file system or the new one: the files of the new directory are on disk
 * before the exchange, and the exchange is on disk before the old files are deleted. The marker names the
 * directory that is not in use.
 */
import type { Replacement } from '../rwlayer/replacement.ts';
import type { Base, RwLayer } from '../rwlayer/rwlayer.ts';
import { childSteps, overlayOf, shortNameOf } from '../rwlayer/sealed.ts';
import { isSystemError, LayerstackError } from '../core/errors.ts';
import { call, native, type BatchStep } from '../system/native.ts';
import { removeOverlay } from '../system/removal.ts';
import type { Root } from '../system/root.ts';
import type { Marker } from '../system/session.ts';
import { spaceError } from '../system/space.ts';

/** The new stack of a container. */
export interface Target {
  /** The new directory in overlay2. After the exchange it has the old files. */
  readonly away: string;
  /** The short names of the sealed uppers, topmost first. */
  readonly sealed: readonly string[];
  readonly base: Base;
  /** The new mount; undefined where the container is not mounted. */
  readonly replacement: Replacement | undefined;
  /** Allows processes to work in the old mount. */
  readonly force: boolean;
}

/**
 * Puts the RW layer of a container on top of sealed uppers. The caller holds its lock.
 * @returns the markers of the directory with the old files; the caller removes both
 * @throws {@link LayerstackError} ERR_STORE_CORRUPT for a container without a short name,
 *   ERR_STORE_UNSUPPORTED on a file system that cannot exchange two directories, ERR_NO_SPACE; system errors.
 *   Then the container is as it was.
 */
export async function putOnTop(
  root: Root,
  layer: RwLayer,
  { away, sealed, base, replacement, force }: Target,
): Promise<readonly Marker[]> {
  const { layout } = root;
  const session = root.session();
  const { mountId, key, owner } = layer;
  const markers: Marker[] = [`overlay2.${away}`];
  const link = shortNameOf(layout, mountId)?.slice('l/'.length);
  const init = layer.initId === undefined ? undefined : shortNameOf(layout, layer.initId);
  const [top] = sealed;
  if (link === undefined || init === undefined || top === undefined)
    throw new LayerstackError(
      'ERR_STORE_CORRUPT',
      `${owner} has no valid short name: \`layerstack fsck --repair\` writes a new one`,
      { id: key },
    );
  const lowers = [...sealed, init, ...base.lowers];
  const { directories } = base;
  const list = [...sealed, init, ...(directories ?? base.lowers)];
  const steps: BatchStep[] = [
    ...childSteps(layout, overlayOf(layout, top), mountId),
    { op: 'mkdir', path: layout.overlay(away), mode: 0o710 },
    { op: 'emptyCopy', root: layout.at(layout.overlay2), from: top, to: `${away}/diff` },
    { op: 'write', path: layout.overlay(away, 'link'), data: link, mode: 0o644, sync: true },
    { op: 'mkdir', path: layout.overlay(away, 'work'), mode: 0o700 },
    {
      ...{ op: 'write', path: layout.overlay(away, 'lower'), data: lowers.join(':'), mode: 0o644 },
      sync: true,
    },
    ...(replacement?.mountSteps({ list, packed: directories !== undefined }) ?? []),
    ...(replacement?.countSteps() ?? []),
    { op: 'exchange', from: layout.overlay(away), to: layout.overlay(mountId) },
  ];
  try {
    await session.mark(markers, steps);
  } catch (error) {
    await root.aftermath.run(
      'parts of a failed rollback stay until the next writer removes them',
      async () => {
        if (replacement) await call(native.batch(layout.root, [replacement.dropStep()]));
        await removeOverlay(layout, away);
        await session.unmark(markers);
      },
    );
    throw isSystemError(error, 'EINVAL', 'ENOSYS')
      ? refuseExchange(layer, error)
      : spaceError(error, layout.root);
  }
  if (replacement)
    await root.aftermath.run('the mount with the old files stays until the next writer', async () => {
      if (force) await replacement.expire();
      await call(native.batch(layout.root, [replacement.dropStep()]));
    });
  return markers;
}

/** Between two plain renames, the container's files would have a name that the next writer removes. */
function refuseExchange({ key, owner }: RwLayer, cause: unknown): LayerstackError {
  return new LayerstackError(
    'ERR_STORE_UNSUPPORTED',
    `${owner} cannot be rolled back: the file system of the store cannot exchange two directories; fork the snapshot instead`,
    { id: key, cause },
  );
}
