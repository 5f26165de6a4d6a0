/**
 * Implements Docker's archive API on a container's root file system (HEAD, GET and PUT of
 * `containers/{id}/archive`; moby/moby: daemon/archive.go): it returns the stat of a path, packs a path as a
 * tar, and extracts a tar into a directory. `cp` builds on these (copy.ts). The container is mounted during
 * the operation, unless it is mounted already. As in docker, the mount points of its volumes exist, but the
 * volumes are not mounted.
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

/** The largest file that ext4 can hold. Only an attacker's tar expands to more, by holes. */
const MAX_TAR_BYTES = 16 * 1024 ** 4;

export interface ArchiveOptions {
  readonly signal?: AbortSignal | undefined;
  /** Receives a warning for each thing that could not be copied: sockets, forbidden extended attributes. */
  readonly onProgress?: OnProgress | undefined;
}

export interface PutArchiveOptions extends ArchiveOptions {
  /** Refuses to replace a directory by another kind of file, or the reverse. Default false. */
  readonly noOverwriteDirNonDir?: boolean | undefined;
  /** Gives all files to the container's user, if its config names one, and not to the owners in the tar. */
  readonly copyUIDGID?: boolean | undefined;
  /** The limit of the tar's uncompressed bytes, holes of sparse files included. Default 16 TiB. */
  readonly maxBytes?: number | undefined;
}

/** A path of a container, with its tar. */
export interface PathArchive {
  readonly stat: PathStat;
  /**
   * The top entry has the name of the path's last component. The caller reads or destroys the stream: until
   * then, the container is mounted.
   */
  readonly tar: Readable;
}

/** A root file system that is mounted until this is disposed. */
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
   * Returns the stat of a path. It does not follow a link at the end of the path, unless the path ends in
   * `/`.
   * @throws {@link LayerstackError} ERR_PATH_NOT_FOUND; ERR_PATH_TYPE for the path of a file that ends in
   *   `/`; ERR_STORE_READ_ONLY when the container is not mounted and the store is open read-only.
   */
  async statPath(container: Container, path: string, { signal }: ArchiveOptions = {}): Promise<PathStat> {
    await using rootfs = await this.open(container, { write: false, signal });
    return await rootfs.tree.stat(containerPath(path));
  }

  /**
   * Returns the tar of a path, resolved as in {@link statPath}. The tar of a directory has all its content,
   * but not the content of mounts in it.
   * @throws {@link LayerstackError} the errors of {@link statPath}; ERR_UPPER_CHANGED (by the stream) when a
   *   file shrank while it was read.
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
   * Extracts a tar, plain or compressed by gzip or zstd, into a directory of the container. Links in the path
   * are followed inside the container. Not synced: writes into containers never are. After an error, the
   * extracted files stay.
   * @throws {@link LayerstackError} ERR_PATH_NOT_FOUND; ERR_PATH_TYPE when the path is not a directory, or
   *   for `noOverwriteDirNonDir`; ERR_ARCHIVE_INVALID or ERR_ARCHIVE_TRUNCATED (`member`),
   *   ERR_LIMIT_EXCEEDED, ERR_COMPRESSION_UNSUPPORTED, ERR_USER_NOT_FOUND, ERR_CONTAINER_MOUNTED when the
   *   container is mounted read-only, ERR_STORE_READ_ONLY, ERR_ABORTED; system errors.
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

  /**
   * Mounts the container for one operation. A store that is open read-only can only use an existing mount.
   */
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
    // A new mount is writable, also for reading: a read-only one would keep other operations from writing.
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

  /** Looks up the container's user in the container's passwd. dockerd uses the host's. */
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
