/**
 * The part of `store.archives` that treats an archive in place as a container: its paths, its changes, its
 * whole root file system. An archive is named by its path, or by that of its mounted root file system. One
 * that is not mounted is mounted read-only for a call that reads.
 */
import type { Readable } from 'node:stream';
import type { ArchiveOptions, PathArchive, PutArchiveOptions } from '../container/archive.ts';
import type { Bundle, BundleOptions } from '../container/bundle.ts';
import type { CommitOptions } from '../container/commit.ts';
import type { CopyOptions } from '../container/copy.ts';
import type { PathStat } from '../container/path-stat.ts';
import { checkArguments } from '../core/arguments.ts';
import type { ImageID } from '../core/digest.ts';
import { LayerstackError } from '../core/errors.ts';
import { formatReference } from '../core/reference.ts';
import type { MountedChoice } from '../packed/find-mounts.ts';
import type { ArchiveChoice, ArchiveSource } from '../packed/operation.ts';
import type { ArchiveRootfs } from '../packed/rootfs.ts';
import type { Change } from '../rwlayer/changes.ts';
import { timed, timedBytes } from '../system/phases.ts';
import type { ExportOptions } from '../transfer/archive/export.ts';
import { newImageName, type NameOptions } from './new-image-name.ts';
import { signatures } from './signatures/archives.ts';
import type { StoreParts } from './store-parts.ts';

const late = () => import('./late/archives.ts');

export class ArchiveContents {
  readonly #parts: StoreParts;

  /** @internal */
  constructor(parts: StoreParts) {
    this.#parts = parts;
  }

  /**
   * Returns what was changed in a mounted archive, as `docker diff` lists it for a container, sorted.
   * @param path the archive's path, or that of its root file system
   * @throws {@link LayerstackError} ERR_ARCHIVE_NOT_MOUNTED; ERR_ARCHIVE_CHANGED; ERR_INVALID_ARGUMENT where
   *   several images of the archive are mounted; ERR_CONTAINER_MOUNTED where it is mounted in another mount
   *   namespace.
   */
  async diff(path: string, options: MountedChoice = {}): Promise<Change[]> {
    return (await this.#rootfs(path, options)).diff();
  }

  /**
   * Returns the root file system as a tar stream, as `docker export` writes that of a container. Errors come
   * through the stream.
   * @throws {@link LayerstackError} (in the stream) ERR_ARCHIVE_CHANGED, also at the end; ERR_UPPER_CHANGED;
   *   ERR_ABORTED; what {@link Archives.mount} throws.
   */
  export(path: string, options: ExportOptions & ArchiveChoice = {}): Readable {
    return this.#parts.streams.from(async () =>
      timedBytes('export', (await this.#rootfs(path, options)).export(options)),
    );
  }

  /**
   * Returns the facts about a path, as {@link Containers.statPath} does.
   * @throws {@link LayerstackError} ERR_PATH_NOT_FOUND, ERR_PATH_TYPE, ERR_ARCHIVE_CHANGED, and what
   *   {@link Archives.mount} throws.
   */
  async statPath(
    archive: string,
    path: string,
    options: ArchiveOptions & ArchiveChoice = {},
  ): Promise<PathStat> {
    return (await this.#rootfs(archive, options)).archive.statPath(path, options);
  }

  /**
   * Returns a path as a tar, as {@link Containers.getArchive} does.
   * @throws {@link LayerstackError} as {@link statPath}.
   */
  async getArchive(
    archive: string,
    path: string,
    options: ArchiveOptions & Pick<CopyOptions, 'followLink'> & ArchiveChoice = {},
  ): Promise<PathArchive> {
    const { packOut } = await late();
    const packed = await packOut((await this.#rootfs(archive, options)).archive, path, options);
    this.#parts.streams.track(packed.tar);
    return packed;
  }

  /**
   * Extracts a tar into an existing directory of a mounted archive, as {@link Containers.putArchive} does.
   * @throws {@link LayerstackError} as {@link statPath}; ERR_ARCHIVE_NOT_MOUNTED; ERR_ARCHIVE_INVALID,
   *   ERR_ARCHIVE_TRUNCATED, ERR_COMPRESSION_UNSUPPORTED; ERR_CONTAINER_MOUNTED where it is mounted
   *   read-only.
   */
  async putArchive(
    archive: string,
    path: string,
    tar: AsyncIterable<Uint8Array>,
    options: PutArchiveOptions & MountedChoice = {},
  ): Promise<void> {
    await (await this.#rootfs(archive, options)).archive.putArchive(path, tar, options);
  }

  /**
   * Copies a file or directory to the host, as {@link Containers.copyOut} does.
   * @throws {@link LayerstackError} as {@link statPath}.
   */
  async copyOut(
    archive: string,
    source: string,
    destination: string,
    options: CopyOptions & ArchiveChoice = {},
  ): Promise<void> {
    const { copyOut } = await late();
    await copyOut((await this.#rootfs(archive, options)).archive, source, destination, options);
  }

  /**
   * Copies a file or directory of the host, or the content of a tar, into a mounted archive, as
   * {@link Containers.copyIn} does.
   * @throws {@link LayerstackError} as {@link putArchive}.
   */
  async copyIn(
    archive: string,
    source: string | AsyncIterable<Uint8Array>,
    destination: string,
    options: CopyOptions & MountedChoice = {},
  ): Promise<void> {
    const { copyIn } = await late();
    await copyIn((await this.#rootfs(archive, options)).archive, source, destination, options);
  }

  /**
   * Writes an OCI bundle to `directory`, for `runc run --bundle`, as {@link Containers.bundle} does for a
   * container of the image. Mounts the archive as {@link Archives.mount} does, unless it is mounted. The
   * runtime needs that mount until it has ended: {@link Archives.unmount} it then.
   * @throws {@link LayerstackError} ERR_USER_NOT_FOUND; ERR_CONFIG_INVALID without a command; and what
   *   {@link Archives.mount} throws.
   */
  async bundle(
    path: string,
    directory: string,
    options: BundleOptions & ArchiveChoice = {},
  ): Promise<Bundle> {
    const rootfs = await this.#rootfs(path, options);
    const { root } = this.#parts;
    const write = (): Promise<Bundle> =>
      rootfs.bundle(directory, options, async (prefix) =>
        root.readOnly ? undefined : root.session().temporary(prefix),
      );
    try {
      return await write();
    } catch (error) {
      if (!LayerstackError.is(error, 'ERR_ARCHIVE_NOT_MOUNTED')) throw error;
    }
    root.session();
    const { ArchiveMounts } = await late();
    const mounts = new ArchiveMounts(root.layout.at(root.layout.archives), root.locks);
    const { image, platform, verify } = options;
    const mount = await mounts.mount(path, { image, platform, verify });
    try {
      return await write();
    } catch (error) {
      await mounts.unmount(mount.path);
      throw error;
    }
  }

  /**
   * Makes an image of the changes in a mounted archive, as {@link Containers.commit} does for a container of
   * its image. The layers of the archive's image are loaded into the store, and verified. Resolves with the
   * new image's id when the image is durable. After an error the store is as it was.
   * @throws {@link LayerstackError} ERR_ARCHIVE_NOT_MOUNTED, ERR_ARCHIVE_CHANGED; what {@link Images.load}
   *   and {@link Containers.commit} throw.
   * @example
   * ```ts
   * await store.archives.commit('app.tar', { reference: 'app:2', changes: ['CMD ["/app"]'] });
   * ```
   */
  async commit(path: string, options: CommitOptions & NameOptions & MountedChoice = {}): Promise<ImageID> {
    const name = newImageName(options);
    const { commitArchive } = await late();
    const source = await this.#source(path, options);
    const id = await this.#parts.reclaiming(
      timed('commit', 'total', () => commitArchive(this.#parts, source, name, options)),
    );
    if (name !== undefined) await this.#parts.imageEvents.emit('tag', id, formatReference(name));
    return id;
  }

  async #rootfs(path: string, choice: ArchiveChoice): Promise<ArchiveRootfs> {
    const { ArchiveRootfs } = await late();
    return new ArchiveRootfs(await this.#source(path, choice));
  }

  async #source(path: string, { image, platform, verify }: ArchiveChoice): Promise<ArchiveSource> {
    const { archiveBelow } = await late();
    const { root } = this.#parts;
    const base = root.layout.at(root.layout.archives);
    return archiveBelow(base, path, { image, platform, verify }, () => root.session());
  }

  static {
    checkArguments(this.prototype, 'store.archives', signatures);
  }
}
