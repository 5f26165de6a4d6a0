/**
 * A new loop ext4 for every measured run. On a used one ext4 avoids recently deleted inodes for minutes, so
 * that a run would also measure the deletions of the previous run.
 */
import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, ftruncateSync, unlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sh } from './measure.js';
import { dropDirectory, onSignal } from './undo.js';

const GIB = 1024 ** 3;

/** Creates a volume, passes its path to `work`, and removes the volume. */
export async function onFreshVolume(work, sizeGiB = 8) {
  const scratch = mkdtempSync(join(tmpdir(), 'layerstack-bench-'));
  const image = join(scratch, 'image');
  const path = join(scratch, 'volume');
  const drop = () => dropDirectory(scratch, path);
  const forget = onSignal(drop);
  try {
    mkdirSync(path);
    const fd = openSync(image, 'w');
    ftruncateSync(fd, sizeGiB * GIB);
    closeSync(fd);
    // Lazy initialisation would write during the run.
    await sh('mkfs.ext4', ['-q', '-F', '-E', 'lazy_itable_init=0,lazy_journal_init=0', image]);
    // Synchronous, so that a signal is handled before or after the mount. A mount that is still at work would
    // be made after the cleanup, and stay.
    execFileSync('mount', ['-o', 'loop', image, path]);
    unlinkSync(image); // the space is freed with the mount, even after a kill
    return await work(path);
  } finally {
    drop();
    forget();
  }
}
