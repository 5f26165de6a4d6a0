/**
 * The root file system of an archive, treated as that of a container. The work is done by the code for
 * containers.
 */
import { RootfsArchive, type OpenRootfs } from '../container/archive.ts';
import { writeBundle, type Bundle, type BundleOptions, type BundleSource } from '../container/bundle.ts';
import { FileTree } from '../container/file-tree.ts';
import { changesBetween, type Change } from '../rwlayer/changes.ts';
import { probeCapabilities } from '../system/caps.ts';
import { exportRootfs, type ExportOptions } from '../transfer/archive/export.ts';
import { archiveBundle, type ArchiveSettings } from './bundle.ts';
import { requireUnchanged } from './file-version.ts';
import { rootfsOf } from './find-mounts.ts';
import { readImageConfig } from './image-config.ts';
import { lowersOf } from './mount.ts';
import type { ArchiveOperation, ArchiveSource, OperationNeeds } from './operation.ts';

export class ArchiveRootfs {
  readonly #source: ArchiveSource;

  constructor(source: ArchiveSource) {
    this.#source = source;
  }

  /**
   * Returns what was changed in the root file system, as `docker diff` lists it for a container.
   * @throws {@link LayerstackError} the errors of {@link ArchiveSource.open}; ERR_UPPER_UNSUPPORTED.
   */
  async diff(): Promise<Change[]> {
    await using operation = await this.#source.open({ mounted: true, write: false });
    const { place } = operation;
    return await changesBetween(place, ['upper'], await lowersOf(place));
  }

  /**
   * Yields the root file system as a plain tar. The archive must be unchanged at the end, too.
   * @throws {@link LayerstackError} (while iterating) the errors of {@link ArchiveSource.open} and of
   *   {@link exportRootfs}.
   */
  export(options: ExportOptions = {}): AsyncGenerator<Uint8Array, void, undefined> {
    const { signal, onProgress } = options;
    const open = async (): Promise<ArchiveOperation> => {
      const operation = await this.#source.open({ mounted: false, write: false, signal });
      for (const message of operation.notices) onProgress?.({ type: 'notice', message });
      return operation;
    };
    return exportRootfs(open, options, ({ files }) => requireUnchanged(this.#source.name, files));
  }

  /**
   * Writes an OCI bundle of the mounted root file system to `directory`, as for a container of the image.
   * @param temporary announces temporary files of the bundle
   * @throws {@link LayerstackError} the errors of {@link ArchiveSource.open} and of {@link writeBundle}.
   */
  async bundle(
    directory: string,
    options: BundleOptions = {},
    temporary: BundleSource['temporary'] = () => Promise.resolve(undefined),
    settings: ArchiveSettings = {},
  ): Promise<Bundle> {
    await using operation = await this.#source.open({ mounted: true, write: false });
    const { place, readOnly } = operation;
    const source = await archiveBundle(operation, this.#source.name, temporary, settings);
    return await writeBundle(source, { path: rootfsOf(place), readOnly }, directory, options);
  }

  /** Copies in and out. Writes need a mounted archive, since they end with the mount. */
  get archive(): RootfsArchive {
    const { name } = this.#source;
    return new RootfsArchive({ name, open: (needs) => this.#openRootfs(needs) });
  }

  async #openRootfs(needs: OperationNeeds): Promise<OpenRootfs> {
    const operation = await this.#source.open({ mounted: needs.write, ...needs });
    try {
      const { place, path } = operation;
      const [image, caps] = await Promise.all([readImageConfig(place), probeCapabilities(place)]);
      return {
        ...{ path, caps, user: image.config.User, tree: new FileTree(path, `${this.#source.name}:`) },
        [Symbol.asyncDispose]: () => operation[Symbol.asyncDispose](),
      };
    } catch (error) {
      await operation[Symbol.asyncDispose]();
      throw error;
    }
  }
}
