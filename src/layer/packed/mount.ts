/**
 * Mounts packed layers as lowers of an overlay. Each index is mounted in a private directory only until the
 * overlay holds it. The overlay then holds the only mount of the index. The mount ends with the overlay, so
 * it needs no count. If this process dies in between, the next writer unmounts the mounts that the marker
 * names. On a root that is open read-only, the mounts have no path, and end with this process at the latest.
 *
 * Overlayfs stacks a limited number of lowers. Of a chain that is longer, the lowest layers share a mount.
 */
import { close } from 'node:fs';
import { promisify } from 'node:util';
import { LayerstackError } from '../../core/errors.ts';
import { randomName } from '../../core/random.ts';
import { probeErofs } from '../../system/caps.ts';
import { mountErofs, openErofs } from '../../system/erofs.ts';
import { removePackedLowers } from '../../system/removal.ts';
import type { ErofsFiles, ErofsMethod } from '../../system/native.ts';
import type { Root } from '../../system/root.ts';
import type { Marker } from '../../system/session.ts';
import { isSystemError } from '../../core/errors.ts';
import { makeDirectory, packedDirectories } from './directories.ts';
import type { PackedLayer } from './entry.ts';
import { lowersOf, openLower, type PackedLower } from './lower.ts';

const closeFd = promisify(close);

/** Mounted indexes. Disposing unmounts them; an overlay that holds them keeps them. */
export interface MountedIndexes extends AsyncDisposable {
  /** In the order of the layers, relative to `overlay2`; absolute on a root that is open read-only. */
  readonly lowers: readonly string[];
}

/**
 * Mounts the layers.
 * @throws {@link LayerstackError} ERR_UNSUPPORTED where the kernel cannot mount them; ERR_STORE_CORRUPT for a
 *   tar that was changed; ERR_STORE_READ_ONLY; system error ENOENT where a layer has vanished meanwhile.
 */
export async function mountPacked(root: Root, layers: readonly PackedLayer[]): Promise<MountedIndexes> {
  const { layout } = root;
  const method = await probeErofs(layout.root);
  if (method === 'none') throw unsupported();
  const stack = lowersOf(layers);
  if (root.readOnly) return openPacked(root, stack, method);
  const name = randomName(8).toString('hex');
  const markers: Marker[] = [`lowers.${name}`];
  const directory = layout.packedLower(name);
  const targets = stack.map((_, index) => `${directory}/${String(index)}`);
  const dispose = async (): Promise<void> => {
    await root.aftermath.run('mounts of packed layers stay until the next writer', async () => {
      await removePackedLowers(layout, name);
      await root.session().unmark(markers);
    });
  };
  try {
    const made = [...packedDirectories(layout), ...[directory, ...targets].map(makeDirectory)];
    await root.session().mark(markers, made);
    for (const [index, lower] of stack.entries()) {
      const target = layout.at(targets[index] ?? '');
      await withFiles(root, lower, (files) => mountErofs({ ...files, target, method }));
    }
  } catch (error) {
    await dispose();
    throw error;
  }
  return { lowers: targets.map((target) => `../${target}`), [Symbol.asyncDispose]: dispose };
}

/** Opens the layers for readers in this process. The mounts have no path, so the root stays as it is. */
async function openPacked(
  root: Root,
  lowers: readonly PackedLower[],
  method: ErofsMethod,
): Promise<MountedIndexes> {
  const fds: number[] = [];
  const dispose = async (): Promise<void> => {
    for (const fd of fds.splice(0)) await closeFd(fd);
  };
  try {
    for (const lower of lowers)
      fds.push(await withFiles(root, lower, (files) => openErofs({ ...files, method })));
  } catch (error) {
    await dispose();
    throw error;
  }
  return { lowers: fds.map((fd) => `/proc/self/fd/${String(fd)}/.`), [Symbol.asyncDispose]: dispose };
}

async function withFiles<T>(
  root: Root,
  lower: PackedLower,
  use: (files: Pick<ErofsFiles, 'fd' | 'devices'>) => Promise<T>,
): Promise<T> {
  await using files = await openLower(root, lower);
  try {
    return await use({ fd: files.index.fd, devices: files.tars.map(({ fd }) => fd) });
  } catch (error) {
    throw isSystemError(error, 'ENODEV', 'ENOTBLK', 'EOPNOTSUPP', 'ENOSYS') ? unsupported(error) : error;
  }
}

function unsupported(cause?: unknown): LayerstackError {
  return new LayerstackError(
    'ERR_UNSUPPORTED',
    'this kernel cannot mount packed layers (it lacks EROFS with 512-byte blocks, Linux 6.4): extract the image first ' +
      '(layerstack settle IMAGE)',
    { cause },
  );
}
