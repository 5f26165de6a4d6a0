/**
 * Cleanup for a benchmark that is killed by a signal: mounts, scratch directories, daemons. A `finally` would
 * wait for the measured work; these functions run at once, without the event loop.
 */
import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { constants } from 'node:os';

const undoes = new Set();

/** Registers `undo` (synchronous); the latest one runs first. Returns a function that unregisters it. */
export function onSignal(undo) {
  undoes.add(undo);
  return () => void undoes.delete(undo);
}

/** Unmounts everything at `mounts`, and removes the directory. */
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
