/**
 * The root file system of an archive, treated as that of a container: what was changed in it. The work is
 * done by the code for containers.
 */
import { changesBetween, type Change } from '../rwlayer/changes.ts';
import { lowersOf } from './mount.ts';
import type { ArchiveSource } from './operation.ts';

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
}
