/** An archive that this process has open as a root file system. */
import type { Readable } from 'node:stream';
import type { ArchiveOptions, PathArchive, PutArchiveOptions } from '../container/archive.ts';
import type { Bundle, BundleOptions } from '../container/bundle.ts';
import type { CopyOptions } from '../container/copy.ts';
import type { PathStat } from '../container/path-stat.ts';
import { checkArguments } from '../core/arguments.ts';
import type { HeldArchive } from '../packed/open-below.ts';
import type { ArchiveImage, ArchiveLayer, MountedArchive } from '../packed/open.ts';
import type { FileVersion } from '../packed/file-version.ts';
import type { ArchiveRootfs } from '../packed/rootfs.ts';
import type { Change } from '../rwlayer/changes.ts';
import type { LayerWarning } from '../system/native.ts';
import type { ExportOptions } from '../transfer/archive/export.ts';
import type { ByteStreams } from './byte-stream.ts';
import { signatures } from './signatures/archives.ts';

const late = () => import('./late/archives.ts');

export class OpenArchive implements MountedArchive, AsyncDisposable {
  readonly archive: string;
  readonly image: ArchiveImage;
  readonly path: string;
  readonly readOnly: boolean;
  readonly verified: boolean;
  readonly hasDigests: boolean;
  readonly layers: readonly ArchiveLayer[];
  readonly notices: readonly string[];
  readonly warnings: readonly LayerWarning[];
  readonly files: readonly FileVersion[];
  readonly #close: HeldArchive['close'];
  readonly #rootfs: ArchiveRootfs;
  /** The streams that callers still read. */
  readonly #streams: ByteStreams;

  /** @internal */
  constructor({ mounted, close }: HeldArchive, rootfs: ArchiveRootfs, streams: ByteStreams) {
    this.archive = mounted.archive;
    this.image = mounted.image;
    this.path = mounted.path;
    this.readOnly = mounted.readOnly;
    this.verified = mounted.verified;
    this.hasDigests = mounted.hasDigests;
    this.layers = mounted.layers;
    this.notices = mounted.notices;
    this.warnings = mounted.warnings;
    this.files = mounted.files;
    this.#close = close;
    this.#rootfs = rootfs;
    this.#streams = streams;
  }

  /**
   * Returns what was changed in the root file system, as `docker diff` lists it for a container, sorted.
   * @throws {@link LayerstackError} ERR_ARCHIVE_CHANGED; ERR_ARCHIVE_NOT_MOUNTED after {@link close}.
   */
  diff(): Promise<Change[]> {
    return this.#rootfs.diff();
  }

  /**
   * Returns the root file system as a tar stream, as `docker export` writes that of a container. Errors come
   * through the stream.
   * @throws {@link LayerstackError} (in the stream) ERR_ARCHIVE_CHANGED, also at the end;
   *   ERR_ARCHIVE_NOT_MOUNTED after {@link close}; ERR_UPPER_CHANGED; ERR_ABORTED.
   */
  export(options: ExportOptions = {}): Readable {
    return this.#streams.from(() => Promise.resolve(this.#rootfs.export(options)));
  }

  /**
   * Returns the facts about a path, as {@link Containers.statPath} does.
   * @throws {@link LayerstackError} ERR_PATH_NOT_FOUND, ERR_PATH_TYPE, ERR_ARCHIVE_CHANGED,
   *   ERR_ARCHIVE_NOT_MOUNTED.
   */
  statPath(path: string, options: ArchiveOptions = {}): Promise<PathStat> {
    return this.#rootfs.archive.statPath(path, options);
  }

  /**
   * Returns a path as a tar, as {@link Containers.getArchive} does.
   * @throws {@link LayerstackError} as {@link statPath}.
   */
  async getArchive(
    path: string,
    options: ArchiveOptions & Pick<CopyOptions, 'followLink'> = {},
  ): Promise<PathArchive> {
    const { packOut } = await late();
    const packed = await packOut(this.#rootfs.archive, path, options);
    this.#streams.track(packed.tar);
    return packed;
  }

  /**
   * Extracts a tar into an existing directory, as {@link Containers.putArchive} does.
   * @throws {@link LayerstackError} as {@link statPath}; ERR_ARCHIVE_INVALID, ERR_ARCHIVE_TRUNCATED,
   *   ERR_COMPRESSION_UNSUPPORTED; ERR_CONTAINER_MOUNTED where the archive is mounted read-only.
   */
  putArchive(path: string, tar: AsyncIterable<Uint8Array>, options: PutArchiveOptions = {}): Promise<void> {
    return this.#rootfs.archive.putArchive(path, tar, options);
  }

  /**
   * Copies a file or directory to the host, as {@link Containers.copyOut} does.
   * @throws {@link LayerstackError} as {@link statPath}.
   */
  async copyOut(source: string, destination: string, options: CopyOptions = {}): Promise<void> {
    const { copyOut } = await late();
    await copyOut(this.#rootfs.archive, source, destination, options);
  }

  /**
   * Copies a file or directory of the host, or the content of a tar, into it, as {@link Containers.copyIn}
   * does.
   * @throws {@link LayerstackError} as {@link putArchive}.
   */
  async copyIn(
    source: string | AsyncIterable<Uint8Array>,
    destination: string,
    options: CopyOptions = {},
  ): Promise<void> {
    const { copyIn } = await late();
    await copyIn(this.#rootfs.archive, source, destination, options);
  }

  /**
   * Writes an OCI bundle to `directory`, for `runc run --bundle`, as {@link Containers.bundle} does for a
   * container of the image. The runtime needs this archive open until it has ended.
   * @throws {@link LayerstackError} ERR_USER_NOT_FOUND; ERR_CONFIG_INVALID without a command;
   *   ERR_ARCHIVE_CHANGED, ERR_ARCHIVE_NOT_MOUNTED.
   */
  bundle(directory: string, options: BundleOptions = {}): Promise<Bundle> {
    return this.#rootfs.bundle(directory, options);
  }

  /**
   * Unmounts it, and removes the changes made in it. A second call does nothing.
   * @throws {@link LayerstackError} ERR_CONTAINER_MOUNTED while files in it are in use, unless forced.
   */
  close({ force = false }: { readonly force?: boolean | undefined } = {}): Promise<void> {
    return this.#close({ force });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#close({ force: true });
  }

  static {
    checkArguments(this.prototype, 'archive', signatures);
  }
}
