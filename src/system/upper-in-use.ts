/**
 * Tells whether an overlay somewhere still writes to an upper: in another mount namespace, or detached by a
 * forced unmount while a process works in it. The list of mounts shows neither.
 */
import { isSystemError } from '../core/errors.ts';
import { mountOverlay } from './mounts.ts';
import type { Root } from './root.ts';

/**
 * Returns whether an overlay has the upper. The kernel marks it until the last user of the overlay is gone,
 * and refuses it to a second mount with `index=on` (since Linux 4.13). The attempt here never succeeds, and
 * changes nothing: its work directory is the upper itself, which overlayfs refuses after it has read the
 * mark. A process that has a file of the upper open by its path below `overlay2` is not seen.
 */
export async function isUpperInUse(
  { layout, caps }: Root,
  { mountId }: { readonly mountId: string },
): Promise<boolean> {
  const upper = `${mountId}/diff`;
  const refusal = await mountOverlay({
    root: layout.at(layout.overlay2),
    target: layout.at(layout.overlay(mountId, 'diff')),
    lowers: [`${mountId}/work`],
    upper,
    work: upper,
    method: caps.mountMethod,
    options: ['index=on'],
  }).catch((error: unknown) => error);
  return isSystemError(refusal, 'EBUSY');
}
