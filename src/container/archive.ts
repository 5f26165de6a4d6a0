/**
 * A container's root file system as Docker's archive API shows it (HEAD, GET and PUT of `containers/{id}/archive`; moby/moby:
 * daemon/archive.go): stat of a path, a path as a tar, a tar into a directory. `cp` is made of these (copy.ts). The container
 * is mounted meanwhile, unless it is already; of its volumes the mount points are there, as in docker.
 */
import type { Readable } from 'node:stream';
import { LayerstackError } from '../core/errors.ts';
import { throwIfAborted } from '../core/abort.ts';
import type { OnProgress } from '../core/progress.ts';
import { decompress, sniff } from '../layer/codec.ts';
import type { RwLayerStore } from '../rwlayer/store.ts';
import type { Root } from '../system/root.ts';
import { containerPath } from './copy-path.ts';
import { FileTree } from './file-tree.ts';
import type { PathStat } from './path-stat.ts';
import { rwLayerOf, type Container } from './record.ts';
import { resolveUser } from './user.ts';
import { readUserDatabase } from './user-database.ts';
import { makeMountPoints } from './volumes.ts';

/** The largest file that ext4 takes. A tar whose holes make more of it is meant to do harm. */
const MAX_TAR_BYTES = 16 * 1024 ** 4;

export interface ArchiveOptions {
  readonly signal?: AbortSignal | undefined;
  /** Told of what could not be copied: sockets, extended attributes that may not be set. */
  readonly onProgress?: OnProgress | undefined;
}

export interface PutArchiveOptions extends ArchiveOptions {
  /** A directory and something else do not replace each other. Default false. */
  readonly noOverwriteDirNonDir?: boolean | undefined;
  /** Everything belongs to the container's user, where its config names one, instead of whom the tar says. */
  readonly copyUIDGID?: boolean | undefined;
  /** Uncompressed bytes of the tar, holes of sparse files included. Default 16 TiB. */
  readonly maxBytes?: number | undefined;
}

/** A path of a container, and the tar of it. */
export interface PathArchive {
  readonly stat: PathStat;
  /** Its top entry is called as the path's last component. Read it or destroy it: the container is mounted meanwhile. */
  readonly tar: Readable;
}

/** A root file system that is mounted for as long as this is not disposed. */
export interface OpenRootfs extends AsyncDisposable {
  readonly path: string;
  readonly tree: FileTree;
}

export class ContainerArchive {
  readonly #root: Root;
  readonly #rwLayers: RwLayerStore;

  constructor(root: Root, rwLayers: RwLayerStore) {
    this.#root = root;
    this.#rwLayers = rwLayers;
  }

  /**
   * What is at a path, without following a link at its end (unless it ends in `/`).
   * @throws {@link LayerstackError} ERR_PATH_NOT_FOUND; ERR_PATH_TYPE for a file with a `/` behind it; ERR_STORE_READ_ONLY
   *   where the container is not mounted and the store is open read-only.
   */
  async statPath(container: Container, path: string, { signal }: ArchiveOptions = {}): Promise<PathStat> {
    await using rootfs = await this.open(container, { write: false, signal });
    return await rootfs.tree.stat(containerPath(path));
  }

  /**
   * The tar of a path, resolved as {@link statPath} does; of a directory with all that is in it, but not what is
   * mounted there.
   * @throws {@link LayerstackError} as {@link statPath}; ERR_UPPER_CHANGED (by the stream) where a file shrank meanwhile.
   */
  async getArchive(
    container: Container,
    path: string,
    { signal, onProgress }: ArchiveOptions = {},
  ): Promise<PathArchive> {
    const rootfs = await this.open(container, { write: false, signal });
    const release = async (): Promise<void> => rootfs[Symbol.asyncDispose]();
    try {
      const at = containerPath(path);
      const stat = await rootfs.tree.stat(at);
      const tar = rootfs.tree.pack(at, {
        ...{ name: stat.name, crossMounts: false, sparse: false },
        ...{ onProgress, release },
      });
      return { stat, tar };
    } catch (error) {
      await release();
      throw error;
    }
  }

  /**
   * Extracts a tar, plain or compressed by gzip or zstd, into a directory of the container; links on the way are followed
   * inside it. Not synced, as nothing that a container writes is. After an error what was extracted stays.
   * @throws {@link LayerstackError} ERR_PATH_NOT_FOUND; ERR_PATH_TYPE where the path is no directory, or with
   *   `noOverwriteDirNonDir`; ERR_ARCHIVE_INVALID or ERR_ARCHIVE_TRUNCATED (`member`), ERR_LIMIT_EXCEEDED,
   *   ERR_COMPRESSION_UNSUPPORTED, ERR_USER_NOT_FOUND,
   *   ERR_CONTAINER_MOUNTED where it is mounted read-only, ERR_STORE_READ_ONLY, ERR_ABORTED; system errors.
   */
  async putArchive(
    container: Container,
    path: string,
    tar: AsyncIterable<Uint8Array>,
    options: PutArchiveOptions = {},
  ): Promise<void> {
    const { noOverwriteDirNonDir = false, copyUIDGID = false, maxBytes = MAX_TAR_BYTES } = options;
    const { onProgress, signal } = options;
    await using rootfs = await this.open(container, { write: true, signal });
    const owner = copyUIDGID ? await this.ownerFor(container, rootfs) : 'archive';
    await rootfs.tree.unpack(containerPath(path), this.#plain(tar), {
      keepKinds: noOverwriteDirNonDir,
      owner,
      maxBytes,
      onProgress,
      signal,
    });
  }

  /** Mounts the container for a while. A store that is open read-only can use only a mount that is there. */
  async open(
    container: Container,
    { write, signal }: { readonly write: boolean; readonly signal?: AbortSignal | undefined },
  ): Promise<OpenRootfs> {
    throwIfAborted(signal);
    const layer = rwLayerOf(container);
    const mounted = await this.#rwLayers.mounted(layer);
    const tree = (path: string): FileTree => new FileTree(path, `${container.name}:`);
    if (mounted && !write && this.#root.readOnly)
      return { path: mounted.path, tree: tree(mounted.path), [Symbol.asyncDispose]: () => Promise.resolve() };
    // Where nothing is mounted a writable mount, also for reading: a read-only one would keep others from writing.
    const readOnly = !write && mounted !== undefined;
    const mount = await this.#rwLayers.mountForOperation(layer, { readOnly, signal });
    try {
      await makeMountPoints(this.#root, container, mount);
    } catch (error) {
      await mount[Symbol.asyncDispose]();
      throw error;
    }
    return {
      path: mount.path,
      tree: tree(mount.path),
      [Symbol.asyncDispose]: () => mount[Symbol.asyncDispose](),
    };
  }

  /** The container's user, by its own passwd and not, as in dockerd, the host's. */
  async ownerFor(
    container: Container,
    rootfs: OpenRootfs,
  ): Promise<'archive' | { readonly uid: number; readonly gid: number }> {
    if (container.config.User === '') return 'archive';
    const { uid, gid } = resolveUser(container.config.User, await readUserDatabase(rootfs.path));
    return { uid, gid };
  }

  async *#plain(tar: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
    const { compression, bytes } = await sniff(tar);
    try {
      yield* decompress(bytes, compression, this.#root.caps);
    } catch (error) {
      if (!LayerstackError.is(error) || !error.code.startsWith('ERR_LAYER_')) throw error;
      const code = error.code === 'ERR_LAYER_TRUNCATED' ? 'ERR_ARCHIVE_TRUNCATED' : 'ERR_ARCHIVE_INVALID';
      throw new LayerstackError(code, error.message, { cause: error });
    }
  }
}
