/**
 * Mounts and unmounts overlays. Errors have the caller's stack. native/sys/overlay_mount makes the system
 * calls, and caps.ts chooses the method.
 */
import { call, native, type MountUses, type OverlayMount } from './native.ts';

/**
 * Mounts an overlay at an existing directory. The mount outlives this process.
 * @throws {@link LayerstackError} ERR_LAYER_DEPTH when there are more lowers than the method can mount
 *   (`limit` is the maximum); a system error otherwise, with the kernel's own words where the new mount API
 *   gives them.
 */
export async function mountOverlay(mount: OverlayMount): Promise<void> {
  await call(native.mountOverlay(mount));
}

/**
 * Unmounts `target`; a link there is not followed.
 * @param options.detach - unmounts even while files are open in it (MNT_DETACH): the mount leaves the tree at
 *   once, and disappears with its last user.
 * @returns whether something was mounted.
 */
export async function unmount(target: string, options: { readonly detach?: boolean } = {}): Promise<boolean> {
  return call(native.unmount(target, options.detach ?? false));
}

/** Returns whether `path` is a mount point, and whether its mount is an overlay. A missing path is `none`. */
export async function mountState(path: string): Promise<'none' | 'overlay' | 'other'> {
  return call(native.mountState(path));
}

/** @see Native.mountUses */
export async function mountUses(
  target: string,
  { everyone }: { readonly everyone: boolean },
): Promise<MountUses> {
  return call(native.mountUses(target, everyone));
}
