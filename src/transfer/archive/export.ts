/**
 * Exports a container's merged root file system as a plain tar, as `docker export` does: names without `./`,
 * hard links, devices, xattrs as PAX records. It leaves out the root entry and everything that is mounted
 * inside. If the container is not mounted, it is mounted read-only meanwhile.
 */
import { throwIfAborted } from '../../core/abort.ts';
import type { OnProgress } from '../../core/progress.ts';
import { counted } from '../../core/tally.ts';
import type { Container } from '../../container/record.ts';
import type { ContainerStore } from '../../container/store.ts';
import { layerTar } from '../../layer/diff.ts';

export interface ExportOptions {
  /** Upper bound of all times in the tar, in seconds since 1970. */
  readonly sourceDateEpoch?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
}

/**
 * Yields the tar of a container. It releases the mount when the tar ends or the reader stops. It calls
 * `onExported` when the whole tar has been read.
 * @throws {@link LayerstackError} (while iterating) ERR_STORE_CORRUPT, ERR_UPPER_CHANGED where a file shrinks
 *   while it is read, ERR_STORE_READ_ONLY, ERR_ABORTED.
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
