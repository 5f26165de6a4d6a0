/** An archive that this process has open as a root file system. */
import { checkArguments } from '../core/arguments.ts';
import type { HeldArchive } from '../packed/open-below.ts';
import type { ArchiveImage, ArchiveLayer, MountedArchive } from '../packed/open.ts';
import type { FileVersion } from '../packed/file-version.ts';
import type { ArchiveRootfs } from '../packed/rootfs.ts';
import type { Change } from '../rwlayer/changes.ts';
import type { LayerWarning } from '../system/native.ts';
import { SIGNATURES } from './signatures/archives.ts';

export class OpenArchive implements MountedArchive, AsyncDisposable {
  readonly archive: string;
  readonly image: ArchiveImage;
  readonly path: string;
  readonly readOnly: boolean;
  readonly verified: boolean;
  readonly layers: readonly ArchiveLayer[];
  readonly notices: readonly string[];
  readonly warnings: readonly LayerWarning[];
  readonly files: readonly FileVersion[];
  readonly #close: HeldArchive['close'];
  readonly #rootfs: ArchiveRootfs;

  /** @internal */
  constructor({ mounted, close }: HeldArchive, rootfs: ArchiveRootfs) {
    this.archive = mounted.archive;
    this.image = mounted.image;
    this.path = mounted.path;
    this.readOnly = mounted.readOnly;
    this.verified = mounted.verified;
    this.layers = mounted.layers;
    this.notices = mounted.notices;
    this.warnings = mounted.warnings;
    this.files = mounted.files;
    this.#close = close;
    this.#rootfs = rootfs;
  }

  /**
   * Returns what was changed in the root file system, as `docker diff` lists it for a container, sorted.
   * @throws {@link LayerstackError} ERR_ARCHIVE_CHANGED; ERR_ARCHIVE_NOT_MOUNTED after {@link close}.
   */
  diff(): Promise<Change[]> {
    return this.#rootfs.diff();
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
    checkArguments(this.prototype, 'archive', SIGNATURES);
  }
}
