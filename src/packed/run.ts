/**
 * Runs a command in an image archive in place. The run uses the place of the archive as its directory.
 * The runtime inherits the place's lock. So after a kill of layerstack, a command that still runs keeps its
 * root file system. When the command has ended, the next writer removes it.
 */
import { join } from 'node:path';
import { ioOf, runResult, type ProcessOptions, type RunResult } from '../container/run/options.ts';
import { findRuntime } from '../container/run/runtime.ts';
import { startRun } from '../container/run/start.ts';
import { archiveContainerId, type ArchiveSettings } from './bundle.ts';
import type { OpenArchiveOptions } from './open.ts';
import { openBelow } from './open-below.ts';
import { heldArchive } from './operation.ts';
import { ArchiveRootfs } from './rootfs.ts';

export interface RunArchiveOptions
  extends
    ArchiveSettings,
    ProcessOptions,
    Pick<OpenArchiveOptions, 'image' | 'platform' | 'verify' | 'maxBytes'> {
  /** Called with each line for the user about the mount. */
  readonly onNotice?: ((line: string) => void) | undefined;
}

/**
 * Mounts the archive below `base`, and runs a command in it. Removes everything afterwards.
 * @throws {@link LayerstackError} the errors of `mountImage`, `writeBundle` and `startRun`.
 */
export async function runArchive(
  base: string,
  archive: string,
  options: RunArchiveOptions,
): Promise<RunResult> {
  const { runtime: given, interactive, streams, onStart, onNotice, signal, ...rest } = options;
  const { image, platform, verify, maxBytes, ...settings } = rest;
  const runtime = findRuntime(given);
  ioOf(settings.tty === true, { interactive, streams });
  const held = await openBelow(base, archive, { image, platform, verify, maxBytes, signal });
  try {
    for (const line of held.mounted.notices) onNotice?.(line);
    const path = join(held.place.path, 'bundle');
    const rootfs = new ArchiveRootfs(heldArchive(archive, held));
    const bundle = await rootfs.bundle(path, {}, undefined, settings);
    const id = archiveContainerId(held.place.path);
    const end = await startRun(
      {
        ...{ id, runtime, path, lockFd: held.place.lockFd },
        ...{ pidFile: join(path, 'pid'), logFile: join(path, 'log.json') },
      },
      {
        io: ioOf(bundle.spec.process.terminal === true, { interactive, streams }),
        ...{ detach: false, signal },
        systemdCgroup: isInSlice(settings),
        onStart: (kill) => onStart?.({ id, leftOut: bundle.leftOut, kill }),
      },
    );
    return runResult(id, end, false);
  } finally {
    await held.close({ force: true });
  }
}

function isInSlice({ hostConfig }: ArchiveSettings): boolean {
  const parent = hostConfig?.['CgroupParent'];
  return typeof parent === 'string' && parent.endsWith('.slice');
}
