/**
 * Writes a root file system as one file that a virtual machine mounts: an EROFS image with 4 KiB blocks that
 * holds all contents. Native code writes it in one pass over the files and unpacks nothing. The same root
 * file system gives the same bytes.
 */
import { throwIfAborted } from '../../core/abort.ts';
import { isSystemError, LayerstackError } from '../../core/errors.ts';
import type { ImageID } from '../../core/digest.ts';
import type { OnProgress } from '../../core/progress.ts';
import type { Container } from '../../container/record.ts';
import type { ContainerStore } from '../../container/store.ts';
import { openChain } from '../../layer/packed/chain.ts';
import { call, native } from '../../system/native.ts';
import type { Root } from '../../system/root.ts';
import { pinImages, type SaveStores } from './save.ts';

export interface DiskImageOptions {
  /**
   * Upper bound of all times in the image, in seconds since 1970. It is also the time of the image itself,
   * which is otherwise 0.
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
 * Writes the layers of an image, as an overlay shows them, to an empty regular file. It mounts no overlay.
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
  const top = images[0]?.layers.at(-1);
  if (top === undefined)
    throw new LayerstackError(
      'ERR_INVALID_ARGUMENT',
      `image ${id} has no layers, so it has no root file system`,
    );
  const { root, layers } = stores;
  await using chain = await openChain(root, layers, top.chainId);
  await write(fd, root.layout.at(root.layout.overlay2), chain.directories, options);
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
  await write(fd, mount.path, [], options);
}

async function write(
  fd: number,
  root: string,
  lowers: readonly string[],
  { sourceDateEpoch, signal, onProgress }: DiskImageOptions,
): Promise<void> {
  throwIfAborted(signal);
  const image = new native.ErofsImage({ root, lowers, fd, latestMtime: sourceDateEpoch });
  const abort = (): void => image.abort();
  signal?.addEventListener('abort', abort, { once: true });
  try {
    for (const warning of await call(image.result)) onProgress?.({ type: 'warning', ...warning });
  } catch (error) {
    throwIfAborted(signal);
    if (isSystemError(error, 'ENOSYS'))
      throw new LayerstackError(
        'ERR_UNSUPPORTED',
        'this kernel has no overlay that is mounted nowhere (fsopen, Linux 5.2): make a container of the image, and write that',
        { cause: error },
      );
    throw error;
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}
