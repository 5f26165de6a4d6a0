/**
 * Implements Docker's archive API on a root file system (HEAD, GET and PUT of `containers/{id}/archive`;
 * moby/moby: daemon/archive.go): it returns the stat of a path, packs a path as a tar, and extracts a tar
 * into a directory. `cp` builds on these (copy.ts). The root file system is that of a container
 * (container-rootfs.ts) or of an image archive in place.
 */
import type { Readable } from 'node:stream';
import { LayerstackError } from '../core/errors.ts';
import { throwIfAborted } from '../core/abort.ts';
import type { OnProgress } from '../core/progress.ts';
import { decompress, sniff } from '../layer/codec.ts';
import type { Capabilities } from '../system/caps.ts';
import { containerPath } from './copy-path.ts';
import type { FileTree } from './file-tree.ts';
import type { PathStat } from './path-stat.ts';
import { resolveUser } from './user.ts';
import { readUserDatabase } from './user-database.ts';

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
  /** `User` of its config. */
  readonly user: string;
  readonly caps: Pick<Capabilities, 'zstd'>;
}

/** Opens a root file system for operations. */
export interface RootfsSource {
  /** Stands before the colon of a path in messages. */
  readonly name: string;
  open(needs: { readonly write: boolean; readonly signal?: AbortSignal | undefined }): Promise<OpenRootfs>;
}

export class RootfsArchive {
  readonly #source: RootfsSource;

  constructor(source: RootfsSource) {
    this.#source = source;
  }

  get name(): string {
    return this.#source.name;
  }

  /**
   * Returns the stat of a path. It does not follow a link at the end of the path, unless the path ends in
   * `/`.
   * @throws {@link LayerstackError} ERR_PATH_NOT_FOUND; ERR_PATH_TYPE for the path of a file that ends in
   *   `/`; ERR_STORE_READ_ONLY when the container is not mounted and the store is open read-only.
   */
  async statPath(path: string, { signal }: ArchiveOptions = {}): Promise<PathStat> {
    await using rootfs = await this.open({ write: false, signal });
    return await rootfs.tree.stat(containerPath(path));
  }

  /**
   * Returns the tar of a path, resolved as in {@link statPath}. The tar of a directory has all its content,
   * but not the content of mounts in it.
   * @throws {@link LayerstackError} the errors of {@link statPath}; ERR_UPPER_CHANGED (by the stream) when a
   *   file shrank while it was read.
   */
  async getArchive(path: string, { signal, onProgress }: ArchiveOptions = {}): Promise<PathArchive> {
    const rootfs = await this.open({ write: false, signal });
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
    path: string,
    tar: AsyncIterable<Uint8Array>,
    options: PutArchiveOptions = {},
  ): Promise<void> {
    const { noOverwriteDirNonDir = false, copyUIDGID = false, maxBytes = MAX_TAR_BYTES } = options;
    const { onProgress, signal } = options;
    await using rootfs = await this.open({ write: true, signal });
    const owner = copyUIDGID ? await ownerFor(rootfs) : 'archive';
    await rootfs.tree.unpack(containerPath(path), plain(tar, rootfs), {
      keepKinds: noOverwriteDirNonDir,
      owner,
      maxBytes,
      onProgress,
      signal,
    });
  }

  /** Mounts the root file system for one operation. */
  async open(needs: Parameters<RootfsSource['open']>[0]): Promise<OpenRootfs> {
    throwIfAborted(needs.signal);
    return this.#source.open(needs);
  }
}

/** Looks up the user in the root file system's passwd. dockerd uses the host's. */
async function ownerFor({
  user,
  path,
}: OpenRootfs): Promise<'archive' | { readonly uid: number; readonly gid: number }> {
  if (user === '') return 'archive';
  const { uid, gid } = resolveUser(user, await readUserDatabase(path));
  return { uid, gid };
}

async function* plain(
  tar: AsyncIterable<Uint8Array>,
  { caps }: OpenRootfs,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { compression, bytes } = await sniff(tar);
  try {
    yield* decompress(bytes, compression, caps);
  } catch (error) {
    if (!LayerstackError.is(error) || !error.code.startsWith('ERR_LAYER_')) throw error;
    const code = error.code === 'ERR_LAYER_TRUNCATED' ? 'ERR_ARCHIVE_TRUNCATED' : 'ERR_ARCHIVE_INVALID';
    throw new LayerstackError(code, error.message, { cause: error });
  }
}
