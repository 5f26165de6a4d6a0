/**
 * Exports a merged root file system as a plain tar, as `docker export` does: names without `./`,
 * hard links, devices, xattrs as PAX records. It leaves out the root entry and everything that is mounted
 * inside.
 */
import { throwIfAborted } from '../../core/abort.ts';
import type { OnProgress } from '../../core/progress.ts';
import { counted } from '../../core/tally.ts';
import { layerTar } from '../../layer/diff.ts';

export interface ExportOptions {
  /** Upper bound of all times in the tar, in seconds since 1970. */
  readonly sourceDateEpoch?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
}

/**
 * Yields the tar of a root file system. It releases the mount when the tar ends or the reader stops. It calls
 * `onExported` when the whole tar has been read.
 * @param openMount mounts the root file system until the result is disposed
 * @throws {@link LayerstackError} (while iterating) ERR_UPPER_CHANGED where a file shrinks while it is read,
 *   ERR_ABORTED; what `openMount` and `onExported` throw.
 */
export async function* exportRootfs<Mount extends AsyncDisposable & { readonly path: string }>(
  openMount: () => Promise<Mount>,
  { signal, sourceDateEpoch, onProgress }: ExportOptions = {},
  onExported?: (mount: Mount) => void | Promise<void>,
): AsyncGenerator<Uint8Array, void, undefined> {
  throwIfAborted(signal);
  await using mount = await openMount();
  for await (const chunk of counted(layerTar(mount.path, { sourceDateEpoch, onProgress }), onProgress)) {
    throwIfAborted(signal);
    yield chunk;
  }
  await onExported?.(mount);
}
