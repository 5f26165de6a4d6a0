/**
 * Puts a container back to a snapshot: prepares a directory with a fresh upper on top of the snapshot, and
 * exchanges it with the container's by one rename. The container keeps its id, its name and its path. A kill
 * or a power cut leaves the old root file system or the new one: the files of the new directory are on disk
 * before the exchange, and the exchange is on disk before the old files are deleted. The marker names the
 * directory that is not in use.
 */
import { newOverlayId } from '../layer/overlay.ts';
import type { RwLayer } from '../rwlayer/rwlayer.ts';
import { childSteps, overlayOf, shortNameOf } from '../rwlayer/sealed.ts';
import { isSystemError, LayerstackError } from '../core/errors.ts';
import type { BatchStep } from '../system/native.ts';
import { removeOverlay } from '../system/removal.ts';
import type { Root } from '../system/root.ts';
import type { Marker } from '../system/session.ts';
import { spaceError } from '../system/space.ts';

/**
 * Puts the RW layer of a container on top of sealed uppers. It is not mounted, and the caller holds its lock.
 * @param stack - the short names of the sealed uppers, and those of the image's layers, topmost first
 * @returns the directory in `overlay2` with the container's old files, and its marker; the caller removes
 *   both
 * @throws {@link LayerstackError} ERR_STORE_CORRUPT for a container without a short name,
 *   ERR_STORE_UNSUPPORTED on a file system that cannot exchange two directories, ERR_NO_SPACE; system errors.
 *   Then the container is as it was.
 */
export async function putOnTop(
  root: Root,
  layer: RwLayer,
  { sealed, base }: { readonly sealed: readonly string[]; readonly base: readonly string[] },
): Promise<{ readonly away: string; readonly markers: readonly Marker[] }> {
  const { layout } = root;
  const session = root.session();
  const { mountId, key, owner } = layer;
  const away = newOverlayId();
  const markers: Marker[] = [`overlay2.${away}`];
  const link = shortNameOf(layout, mountId)?.slice('l/'.length);
  const init = layer.initId === undefined ? undefined : shortNameOf(layout, layer.initId);
  const [top] = sealed;
  if (link === undefined || init === undefined || top === undefined)
    throw new LayerstackError(
      'ERR_STORE_CORRUPT',
      `${owner} has no valid short name: fsck --repair writes a new one`,
      {
        id: key,
      },
    );
  const lowers = [...sealed, init, ...base];
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
    { op: 'exchange', from: layout.overlay(away), to: layout.overlay(mountId) },
  ];
  try {
    await session.mark(markers, steps);
  } catch (error) {
    await root.aftermath.run('what is left of a rollback stays until the next writer', async () => {
      await removeOverlay(layout, away);
      await session.unmark(markers);
    });
    throw isSystemError(error, 'EINVAL', 'ENOSYS')
      ? refuseExchange(layer, error)
      : spaceError(error, layout.root);
  }
  return { away, markers };
}

/** With plain renames, the container's files would for a moment be where the next writer removes them. */
function refuseExchange({ key, owner }: RwLayer, cause: unknown): LayerstackError {
  return new LayerstackError(
    'ERR_STORE_UNSUPPORTED',
    `${owner} cannot be rolled back: the file system of the store cannot exchange two directories; fork the snapshot instead`,
    { id: key, cause },
  );
}
