/**
 * A container's merged root file system as a plain tar, as `docker export` gives it: names without `./`, hard links, devices,
 * xattrs as PAX records; the root entry and what is mounted inside are left out. A container that is not mounted
 * is mounted read-only for it.
 */
import { throwIfAborted } from '../../core/abort.ts';
import type { OnProgress } from '../../core/progress.ts';
import { counted } from '../../core/tally.ts';
import type { Container } from '../../container/record.ts';
import type { ContainerStore } from '../../container/store.ts';
import { layerTar } from '../../layer/diff.ts';

export interface ExportOptions {
  /** Seconds since 1970 that no time in the tar exceeds. */
  readonly sourceDateEpoch?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
}

/**
 * The tar of a container. When it ends, or nobody reads on, its mount is given back. `onExported` is called when all has been
 * read.
 * @throws {@link LayerstackError} (while iterating) ERR_STORE_CORRUPT, ERR_UPPER_CHANGED where a file shrinks while it is
 *   read, ERR_STORE_READ_ONLY, ERR_ABORTED.
 */
export async function* exportContainer(
  containers: Pick<ContainerStore, 'mountForOperation'>,
  container: Container,
  { signal, sourceDateEpoch, onProgress }: ExportOptions = {},
  onExported?: () => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  throwIfAborted(signal);
  await using mount = await containers.mountForOperation(container, { readOnly: true, signal });
  for await (const chunk of counted(layerTar(mount.path, { sourceDateEpoch, onProgress }), onProgress)) {
    throwIfAborted(signal);
    yield chunk;
  }
  onExported?.();
}
