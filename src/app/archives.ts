/**
 * Mounts image archives in place as root file systems, with a store or without one. Their images do not enter
 * the store. archive-contents.ts reads and writes the content of the root file systems.
 */
import { checkArguments, checkedFunction } from '../core/arguments.ts';
import type { ArchiveMount, ArchiveMounts, UnmountArchiveOptions } from '../packed/archive-mounts.ts';
import type { RunResult } from '../container/run/options.ts';
import type { StorelessOptions } from '../packed/open-archive.ts';
import type { OpenArchiveOptions } from '../packed/open.ts';
import type { RunArchiveOptions } from '../packed/run.ts';
import type { Root } from '../system/root.ts';
import { hasDirectory } from '../system/store-files.ts';
import { ArchiveContents } from './archive-contents.ts';
import { ByteStreams } from './byte-stream.ts';
import { OpenArchive } from './open-archive.ts';
import { signatures } from './signatures/archives.ts';
import type { StoreParts } from './store-parts.ts';

/** It is imported late, because few callers need it. */
const late = () => import('./late/archives.ts');

/** The archives of one store. */
export class Archives extends ArchiveContents {
  readonly #root: Root;
  readonly #base: string;
  readonly #streams: ByteStreams;

  /** @internal */
  constructor(parts: StoreParts) {
    super(parts);
    const { root, streams } = parts;
    this.#root = root;
    this.#base = root.layout.at(root.layout.archives);
    this.#streams = streams;
  }

  /**
   * Mounts the image of an archive as a writable root file system, without unpacking it: the kernel reads the
   * files from the archive, which must not change while it is mounted. Closing the result, or the end of an
   * `await using` block, leaves nothing behind. If this process dies, the next writer of the store unmounts
   * it.
   * @param path a docker-archive, an OCI archive or an OCI layout folder. Compressed layers are inflated
   *   once.
   * @throws {@link LayerstackError} ERR_ARCHIVE_CHANGED where the archive changes meanwhile;
   *   ERR_IMAGE_NOT_FOUND, ERR_PLATFORM_NOT_FOUND, ERR_INVALID_ARGUMENT; ERR_ARCHIVE_INVALID,
   *   ERR_MANIFEST_INVALID, ERR_CONFIG_INVALID, ERR_LAYER_INVALID and their like; ERR_DIGEST_MISMATCH,
   *   ERR_LIMIT_EXCEEDED, ERR_NO_SPACE, ERR_UNSUPPORTED, ERR_ABORTED, ERR_STORE_READ_ONLY.
   * @example
   * ```ts
   * await using root = await store.archives.open('app.tar');
   * console.log(await readFile(`${root.path}/etc/os-release`, 'utf8'));
   * ```
   */
  async open(path: string, options: OpenArchiveOptions = {}): Promise<OpenArchive> {
    this.#root.session();
    const { ArchiveRootfs, heldArchive, openBelow } = await late();
    const held = await openBelow(this.#base, path, options);
    return new OpenArchive(held, new ArchiveRootfs(heldArchive(path, held)), this.#streams);
  }

  /**
   * Mounts an archive as {@link open} does, but the mount outlives this process: each `mount` needs an
   * `unmount`. A second mount of the same archive and image gives the same root file system.
   * @throws {@link LayerstackError} as {@link open}; ERR_CONTAINER_MOUNTED where it is mounted read-only and
   *   the caller wants it writable, or unverified and the caller wants it verified.
   */
  async mount(path: string, options: OpenArchiveOptions = {}): Promise<ArchiveMount> {
    this.#root.session();
    return (await this.#mounts()).mount(path, options);
  }

  /**
   * Ends one use of a mounted archive. `path` is that of the archive, or of its root file system. The end of
   * the last use unmounts it and removes the changes made in it. Resolves with the number of remaining uses.
   * @throws {@link LayerstackError} ERR_CONTAINER_MOUNTED while files in it are in use, unless forced;
   *   ERR_INVALID_ARGUMENT where several images of the archive are mounted; ERR_PATH_NOT_FOUND,
   *   ERR_STORE_READ_ONLY.
   */
  async unmount(path: string, options: UnmountArchiveOptions = {}): Promise<number> {
    this.#root.session();
    return (await this.#mounts()).unmount(path, options);
  }

  /**
   * Runs a command in the image of an archive, as {@link Containers.run} does in a container, without loading
   * it. Mounts the archive as {@link open} does, and removes everything afterwards.
   * @throws {@link LayerstackError} the errors of {@link open} and {@link Containers.run}.
   * @example
   * ```ts
   * const { status } = await store.archives.run('app.tar', { command: ['npm', 'test'] });
   * ```
   */
  async run(path: string, options: RunArchiveOptions = {}): Promise<RunResult> {
    this.#root.session();
    const { runArchive } = await late();
    return runArchive(this.#base, path, options);
  }

  /** Returns the mounted archives. */
  async list(): Promise<ArchiveMount[]> {
    return (await this.#mounts()).list();
  }

  /**
   * Removes the leftovers of processes that died with an archive open.
   * @internal
   */
  async resume(): Promise<void> {
    if (!hasDirectory(this.#base)) return;
    const { sweepPlaces } = await late();
    await sweepPlaces(this.#base, this.#root.log);
  }

  async #mounts(): Promise<ArchiveMounts> {
    const { ArchiveMounts } = await late();
    return new ArchiveMounts(this.#base, this.#root.locks);
  }

  static {
    checkArguments(this.prototype, 'store.archives', signatures);
  }
}

/**
 * Mounts the image of an archive as a writable root file system, without a store and without unpacking it:
 * the kernel reads the files from the archive, which must not change while it is mounted. Closing the result,
 * or the end of an `await using` block, leaves nothing behind. It needs root.
 * @param path a docker-archive, an OCI archive or an OCI layout folder. Compressed layers are inflated once.
 * @throws {@link LayerstackError} ERR_ARCHIVE_CHANGED where the archive changes meanwhile;
 *   ERR_IMAGE_NOT_FOUND, ERR_PLATFORM_NOT_FOUND, ERR_INVALID_ARGUMENT; ERR_ARCHIVE_INVALID,
 *   ERR_MANIFEST_INVALID, ERR_CONFIG_INVALID, ERR_LAYER_INVALID and their like; ERR_DIGEST_MISMATCH,
 *   ERR_LIMIT_EXCEEDED, ERR_NO_SPACE, ERR_UNSUPPORTED, ERR_NOT_ROOT, ERR_STORE_UNSAFE, ERR_ABORTED.
 * @example
 * ```ts
 * await using root = await openArchive('app.tar');
 * console.log(await readFile(`${root.path}/etc/os-release`, 'utf8'));
 * ```
 */
export const openArchive = checkedFunction(
  'openArchive',
  async (path: string, options: StorelessOptions = {}): Promise<OpenArchive> => {
    const storeless = await late();
    const held = await storeless.openArchive(path, options);
    const rootfs = new storeless.ArchiveRootfs(storeless.heldArchive(path, held));
    return new OpenArchive(held, rootfs, new ByteStreams());
  },
  signatures,
);
