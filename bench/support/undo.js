/**
 * What has to be undone when the benchmark is killed by a signal: mounts, scratch directories, daemons. A `finally` would
 * wait for what is being measured; these run at once, and without the event loop.
 */
import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { constants } from 'node:os';

const undoes = new Set();

/** Remembers `undo` (synchronous), the latest to run first; returns what forgets it. */
export function onSignal(undo) {
  undoes.add(undo);
  return () => void undoes.delete(undo);
}

/** A directory of ours: everything mounted at `mounts` is unmounted, and it is removed. */
export function dropDirectory(directory, ...mounts) {
  for (const mount of mounts) spawnSync('umount', ['-l', mount], { stdio: 'ignore' });
  rmSync(directory, { recursive: true, force: true });
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.once(signal, () => {
    for (const undo of [...undoes].reverse()) {
      try {
        undo();
      } catch (error) {
        console.error(error);
      }
    }
    process.exit(128 + constants.signals[signal]);
  });
}
