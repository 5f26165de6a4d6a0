/**
 * What a container changed, as `docker diff` lists it: its RW layer against the image with the init layer. Only the
 * RW layer is walked, nothing is mounted, and a mounted container is read where it is.
 */
import { Overlay } from '../layer/overlay.ts';
import { call, native, type Change } from '../system/native.ts';
import type { Root } from '../system/root.ts';
import type { Container } from './record.ts';

export type { Change } from '../system/native.ts';

/**
 * The changes, sorted by path with a directory before its content.
 * @throws {@link LayerstackError} ERR_UPPER_UNSUPPORTED, naming the `member`, where overlayfs keeps content elsewhere
 *   (redirect_dir, metacopy); ERR_STORE_CORRUPT for a container without its directories.
 */
export async function listChanges(root: Pick<Root, 'layout'>, container: Container): Promise<Change[]> {
  const { layout } = root;
  const [, ...lowers] = await new Overlay(layout).lowersOf(container.mountId);
  return call(native.listChanges(layout.at(layout.overlay2), `${container.mountId}/diff`, lowers));
}
