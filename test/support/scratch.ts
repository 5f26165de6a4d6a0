/**
 * Scratch directories of tests. All mounts below them are unmounted, and they are removed, even after
 * failures.
 */
import { mkdtempSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from './process.ts';

/** Creates a directory and returns its canonical path. */
export function makeScratch(name: string): string {
  return realpathSync(mkdtempSync(join(tmpdir(), `layerstack-${name}-`)));
}

/** Returns the mount points at or below `directory`, the latest mount first. */
export function mountsBelow(directory: string): string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .map((path) =>
      path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8))),
    )
    .filter((path) => path === directory || path.startsWith(`${directory}/`))
    .reverse();
}

/** Unmounts everything at or below `directory`. */
export async function unmountBelow(directory: string): Promise<void> {
  for (let pass = 0; pass < 3 && mountsBelow(directory).length > 0; pass++)
    for (const path of mountsBelow(directory)) await run('umount', ['-l', path]);
}

/** Unmounts everything below a scratch directory and removes it. */
export async function dropScratch(directory: string): Promise<void> {
  await unmountBelow(directory);
  rmSync(directory, { recursive: true, force: true, maxRetries: 3 });
}
