/**
 * The programs that the conformance suite compares with. In CI a missing one fails the suite: a skipped
 * comparison must not look like a successful one. Elsewhere the comparison is skipped, and a warning says so.
 */
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Returns the path of a program, or undefined. */
export function findProgram(name: string): string | undefined {
  for (const directory of [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/sbin']) {
    const path = join(directory, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      continue;
    }
  }
  return undefined;
}

/**
 * Whether all of `names` are installed. Warns about missing ones.
 * @throws Error with the missing names in CI.
 */
export function havePeers(...names: string[]): boolean {
  const missing = names.filter((name) => !findProgram(name));
  if (missing.length === 0) return true;
  const text = `conformance: not installed: ${missing.join(', ')}`;
  if (process.env['CI']) throw new Error(`${text}; .ci/run installs them`);
  console.warn(`${text}; what needs them is SKIPPED. .ci/run lists the packages.`);
  return false;
}
