/**
 * The part of `store.containers` that reads and writes the content of a container: its paths, its changes,
 * its whole root file system.
 */
import type { Readable } from 'node:stream';
import { checkArguments } from '../core/arguments.ts';
import type { ImageID } from '../core/digest.ts';
import { isSystemError, LayerstackError } from '../core/errors.ts';
import { formatReference } from '../core/reference.ts';
import type { ArchiveOptions, PathArchive, PutArchiveOptions, RootfsArchive } from '../container/archive.ts';
import type { Change } from '../rwlayer/changes.ts';
import type { CommitOptions } from '../container/commit.ts';
import type { CopyOptions } from '../container/copy.ts';
import type { PathStat } from '../container/path-stat.ts';
import { rwLayerOf, type Container } from '../container/record.ts';
import { timed, timedBytes } from '../system/phases.ts';
import type { ExportOptions } from '../transfer/archive/export.ts';
import type { DiskImageOptions } from '../transfer/archive/disk-image.ts';
import { requireEmptyFile } from './empty-file.ts';
import { newImageName, type NameOptions } from './new-image-name.ts';
import { signatures } from './signatures/containers.ts';
import type { StoreParts } from './store-parts.ts';

const late = () => import('./late/containers.ts');

/** A container, or a text that names one: its id, the beginning of its id, or its name. */
export type ContainerRef = Container | string;

export class ContainerContents {
  readonly #parts: StoreParts;

  /** @internal */
  constructor(parts: StoreParts) {
    this.#parts = parts;
  }

  /**
   * Returns the container that an id, the beginning of one, or a name means.
   * @throws {@link LayerstackError} ERR_CONTAINER_NOT_FOUND, ERR_ID_AMBIGUOUS.
   */
  async get(ref: ContainerRef): Promise<Container> {
    return typeof ref === 'string' ? this.#parts.containers.resolve(ref) : ref;
  }

  /**
   * Returns the facts about a path of a container, in the form of Docker's archive API. A link at its end is
   * not followed.
   * @throws {@link LayerstackError} ERR_PATH_NOT_FOUND, ERR_PATH_TYPE, and what {@link mount} throws.
   */
  async statPath(ref: ContainerRef, path: string, options: ArchiveOptions = {}): Promise<PathStat> {
    const container = await this.get(ref);
    return this.#unlessRemoved(container, (await this.#archive(container)).statPath(path, options));
  }

  /**
   * Returns a path of a container as a tar, whose top entry has the path's last component as its name. The
   * container is mounted until the tar has been read to its end or destroyed.
   * @throws {@link LayerstackError} ERR_PATH_NOT_FOUND, ERR_PATH_TYPE, and what {@link mount} throws.
   * @example
   * ```ts
   * const { tar } = await store.containers.getArchive('build', '/etc');
   * await pipeline(tar, createWriteStream('etc.tar'));
   * ```
   */
  async getArchive(
    ref: ContainerRef,
    path: string,
    options: ArchiveOptions & Pick<CopyOptions, 'followLink'> = {},
  ): Promise<PathArchive> {
    const { packOut } = await late();
    const { streams, events } = this.#parts;
    const container = await this.get(ref);
    const source = await this.#archive(container);
    const archive = await this.#unlessRemoved(container, packOut(source, path, options));
    streams.track(archive.tar);
    events.container('archive-path', container);
    return archive;
  }

  /**
   * Extracts a tar, plain or compressed by gzip or zstd, into an existing directory of a container.
   * @throws {@link LayerstackError} ERR_PATH_NOT_FOUND, ERR_PATH_TYPE, ERR_ARCHIVE_INVALID,
   *   ERR_ARCHIVE_TRUNCATED, ERR_COMPRESSION_UNSUPPORTED, ERR_ABORTED, and what {@link mount} throws.
   */
  async putArchive(
    ref: ContainerRef,
    path: string,
    tar: AsyncIterable<Uint8Array>,
    options: PutArchiveOptions = {},
  ): Promise<void> {
    const container = await this.get(ref);
    const archive = await this.#archive(container);
    await this.#unlessRemoved(container, archive.putArchive(path, tar, options));
    this.#parts.events.container('extract-to-dir', container);
  }

  /**
   * Copies a file or directory of a container to the host, as `docker cp CONTAINER:SOURCE DESTINATION`.
   * @throws {@link LayerstackError} ERR_PATH_NOT_FOUND; ERR_PATH_TYPE where a directory would replace another
   *   kind of file, or the reverse; ERR_ABORTED, and what {@link mount} throws.
   */
  async copyOut(
    ref: ContainerRef,
    source: string,
    destination: string,
    options: CopyOptions = {},
  ): Promise<void> {
    const { copyOut } = await late();
    const container = await this.get(ref);
    await copyOut(await this.#archive(container), source, destination, options);
    this.#parts.events.container('archive-path', container);
  }

  /**
   * Copies a file or directory of the host, or the content of a tar, into a container, as
   * `docker cp SOURCE CONTAINER:DESTINATION`.
   * @throws {@link LayerstackError} as {@link copyOut}; ERR_ARCHIVE_INVALID, ERR_ARCHIVE_TRUNCATED for a tar.
   */
  async copyIn(
    ref: ContainerRef,
    source: string | AsyncIterable<Uint8Array>,
    destination: string,
    options: CopyOptions = {},
  ): Promise<void> {
    const { copyIn } = await late();
    const container = await this.get(ref);
    await copyIn(await this.#archive(container), source, destination, options);
    this.#parts.events.container('extract-to-dir', container);
  }

  /**
   * Returns what a container changed, as `docker diff` lists it, sorted. Walks its writable layer only,
   * mounted or not.
   * @throws {@link LayerstackError} ERR_CONTAINER_NOT_FOUND, ERR_UPPER_UNSUPPORTED.
   */
  async diff(ref: ContainerRef): Promise<Change[]> {
    const container = await this.get(ref);
    const { listChanges } = await late();
    return this.#unlessRemoved(
      container,
      listChanges(this.#parts.root, this.#parts.layers, rwLayerOf(container)),
    );
  }

  /**
   * Makes an image of a container's changes. Without changes, the image has the layers of the container's
   * image. Resolves with the image's id when the image is durable. After an error the store is as it was.
   * @throws {@link LayerstackError} ERR_CONTAINER_NOT_FOUND, ERR_REFERENCE_INVALID, ERR_INVALID_ARGUMENT for
   *   a malformed change, ERR_UPPER_CHANGED where a file shrinks meanwhile, ERR_UPPER_UNSUPPORTED,
   *   ERR_NO_SPACE, ERR_ABORTED, ERR_STORE_READ_ONLY.
   * @example
   * ```ts
   * await store.containers.commit('build', { reference: 'app:1', changes: ['CMD ["/app"]'] });
   * ```
   */
  async commit(ref: ContainerRef, options: CommitOptions & NameOptions = {}): Promise<ImageID> {
    const name = newImageName(options);
    const { commit } = await late();
    const container = await this.get(ref);
    const id = await this.#parts.reclaiming(
      timed('commit', 'total', () =>
        this.#unlessRemoved(container, commit(this.#parts, container, name, options)),
      ),
    );
    const imageRef = name && formatReference(name);
    if (imageRef !== undefined) await this.#parts.imageEvents.emit('tag', id, imageRef);
    const comment = options.message ?? '';
    this.#parts.events.container('commit', container, { comment, imageID: id, imageRef: imageRef ?? '' });
    return id;
  }

  /**
   * Returns the root file system of a container as a tar stream, as `docker export` writes it. Mounts the
   * container read-only where it is not mounted. Errors come through the stream.
   * @throws {@link LayerstackError} (in the stream) ERR_CONTAINER_NOT_FOUND, ERR_UPPER_CHANGED,
   *   ERR_STORE_READ_ONLY, ERR_ABORTED.
   */
  export(ref: ContainerRef, options: ExportOptions = {}): Readable {
    const { streams, containers, events } = this.#parts;
    return streams.from(async () => {
      const { exportRootfs } = await late();
      const container = await this.get(ref);
      const openMount = () =>
        containers.mountForOperation(container, { readOnly: true, signal: options.signal });
      const onExported = (): void => events.container('export', container);
      return timedBytes('export', exportRootfs(openMount, options, onExported));
    });
  }

  /**
   * Writes the root file system of a container to an empty regular file: EROFS with 4 KiB blocks, or ext4.
   * Nothing is synced. The fd stays the caller's, also after an error, when part of the file system may be in
   * the file.
   * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT where `fd` is not a regular file, or not empty, or
   *   `size` is too small; ERR_UNSUPPORTED where ext4 needs a program that is missing;
   *   ERR_CONTAINER_NOT_FOUND, ERR_ID_AMBIGUOUS, ERR_STORE_CORRUPT, ERR_LIMIT_EXCEEDED, ERR_UPPER_CHANGED,
   *   ERR_NO_SPACE, ERR_SYSTEM with the words of mke2fs, ERR_ABORTED; system errors of write(2).
   */
  async writeDisk(fd: number, ref: ContainerRef, options: DiskImageOptions = {}): Promise<void> {
    await requireEmptyFile(fd);
    const { writeImageOfContainer } = await late();
    await writeImageOfContainer(fd, this.#parts.containers, await this.get(ref), options);
  }

  async #archive(container: Container): Promise<RootfsArchive> {
    const { containerArchive } = await late();
    const { root, containers } = this.#parts;
    return containerArchive(root, containers.rwLayers, container);
  }

  /**
   * Reports ERR_CONTAINER_NOT_FOUND for a missing or incomplete file where the container was removed
   * meanwhile.
   */
  async #unlessRemoved<T>(container: Container, work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      if (!isSystemError(error, 'ENOENT') && !LayerstackError.is(error, 'ERR_STORE_CORRUPT')) throw error;
      const { root, containers } = this.#parts;
      // The remover holds the container's lock until nothing of it is left.
      await using _lock = await root.locks.acquire('containers', container.id);
      await containers.resolve(container.id);
      throw error;
    }
  }

  static {
    checkArguments(this.prototype, 'store.containers', signatures);
  }
}
