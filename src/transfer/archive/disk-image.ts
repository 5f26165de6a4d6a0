/**
 * Writes a root file system as one file that a virtual machine mounts and boots from: read-only EROFS, or
 * ext4. The same image gives the same bytes.
 */
import { LayerstackError } from '../../core/errors.ts';
import type { ImageID } from '../../core/digest.ts';
import type { OnProgress } from '../../core/progress.ts';
import type { Container } from '../../container/record.ts';
import type { ContainerStore } from '../../container/store.ts';
import { openChain } from '../../layer/packed/chain.ts';
import type { Root } from '../../system/root.ts';
import { writeErofs, type DiskTree } from './erofs-disk.ts';
import { writeExt4 } from './ext4-disk.ts';
import { pinImages, type SaveStores } from './save.ts';

export interface DiskImageOptions {
  /**
   * `erofs`: read-only, as large as its contents. `ext4`: writable; made by `mke2fs` of the host, with whole
   * seconds from 1901 to 2038 as times, at most 4 KiB of attributes for each file, and a `lost+found`.
   * Default erofs.
   */
  readonly format?: 'erofs' | 'ext4' | undefined;
  /** Bytes of an ext4 file system. Default: enough for its contents. */
  readonly size?: number | undefined;
  /**
   * Upper bound of all times in the image, in seconds since 1970. It is also the time of the image itself,
   * which is otherwise 0 (EROFS) or 1 (ext4).
   */
  readonly sourceDateEpoch?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called for attributes that EROFS does not have, and for files that `export` leaves out. */
  readonly onProgress?: OnProgress | undefined;
}

/** The parts of the store that read an image's layers. */
export interface DiskImageStores extends SaveStores {
  readonly root: Root;
}

/**
 * Writes the layers of an image, as an overlay shows them, to an empty regular file. It does not mount an
 * overlay.
 * @throws {@link LayerstackError} ERR_IMAGE_NOT_FOUND, ERR_LAYER_NOT_FOUND, ERR_STORE_CORRUPT,
 *   ERR_LIMIT_EXCEEDED beyond 16 TiB, ERR_INVALID_ARGUMENT for an image without layers, ERR_ABORTED; system
 *   errors of write(2).
 */
export async function writeImageOfImage(
  fd: number,
  stores: DiskImageStores,
  id: ImageID,
  options: DiskImageOptions = {},
): Promise<void> {
  const { images, pin } = await pinImages(stores, [id], options.signal);
  await using _held = pin;
  const image = images[0];
  const top = image?.layers.at(-1);
  if (image === undefined || top === undefined)
    throw new LayerstackError(
      'ERR_INVALID_ARGUMENT',
      `image ${id} has no layers, so it has no root file system`,
    );
  const { root, layers } = stores;
  await using chain = await openChain(root, layers, top.chainId);
  const tree = {
    root: root.layout.at(root.layout.overlay2),
    lowers: chain.directories,
    // A layer's root directory has the time of its extraction, as with dockerd.
    rootMtime: image.config.created?.unix ?? 0,
  };
  await write(fd, tree, id, options);
}

/**
 * Writes the root file system of a container, without the file systems that are mounted inside. If the
 * container is not mounted, it is mounted read-only meanwhile.
 * @throws {@link LayerstackError} as {@link writeImageOfImage}; ERR_UPPER_CHANGED where a file shrinks while
 *   it is read.
 */
export async function writeImageOfContainer(
  fd: number,
  containers: Pick<ContainerStore, 'mountForOperation'>,
  container: Container,
  options: DiskImageOptions = {},
): Promise<void> {
  await using mount = await containers.mountForOperation(container, {
    readOnly: true,
    signal: options.signal,
  });
  await write(fd, { root: mount.path, lowers: [] }, container.id, options);
}

/** @throws {@link LayerstackError} ERR_INVALID_ARGUMENT for a size that is wrong, or with EROFS. */
async function write(fd: number, tree: DiskTree, id: string, options: DiskImageOptions): Promise<void> {
  const { format = 'erofs', size } = options;
  if (size !== undefined && !(Number.isSafeInteger(size) && size > 0))
    throw new LayerstackError(
      'ERR_INVALID_ARGUMENT',
      `a size of ${size} bytes: give a positive whole number`,
    );
  if (format === 'ext4') return writeExt4(fd, tree, id, options);
  if (size !== undefined)
    throw new LayerstackError(
      'ERR_INVALID_ARGUMENT',
      'an EROFS image is as large as its contents: give a size for ext4 only',
    );
  await writeErofs(fd, tree, options);
}
