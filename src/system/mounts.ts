/**
 * Mounting and unmounting, as the rest of layerstack calls it: typed, with the caller's stack. How it is done is in
 * native/sys/overlay_mount; which method to take is decided in caps.ts.
 */
import { call, native, type OverlayMount } from './native.ts';

/**
 * Mounts an overlay at an existing directory. The kernel holds it: it outlives this process.
 * @throws {@link LayerstackError} ERR_LAYER_DEPTH when there are more lowers than the method can mount (`limit` says
 * how many fit); a system error otherwise, with the kernel's own words where the new mount API gives them.
 */
export async function mountOverlay(mount: OverlayMount): Promise<void> {
  await call(native.mountOverlay(mount));
}

/**
 * Takes away what is mounted at `target`; a link there is not followed.
 * @param options.detach - also while files are open in it (MNT_DETACH): it is gone from the tree at once, and
 * altogether with its last user.
 * @returns whether something was mounted.
 */
export async function unmount(target: string, options: { readonly detach?: boolean } = {}): Promise<boolean> {
  return call(native.unmount(target, options.detach ?? false));
}

/** Whether `path` itself is where something is mounted, and whether that is an overlay. A missing path is `none`. */
export async function mountState(path: string): Promise<'none' | 'overlay' | 'other'> {
  return call(native.mountState(path));
}
