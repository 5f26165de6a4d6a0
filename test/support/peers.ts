/**
 * The programs that the conformance suite compares with. A missing one fails the suite: a comparison that did not
 * happen must not look like one that held. Elsewhere than in CI, LAYERSTACK_SKIP_PEERS=1 lets the suite run
 * without them, and says so.
 */
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** The path of a program, or undefined. */
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
 * Whether all of `names` are there.
 * @throws Error naming the missing ones, unless LAYERSTACK_SKIP_PEERS is set and CI is not.
 */
export function havePeers(...names: string[]): boolean {
  const missing = names.filter((name) => !findProgram(name));
  if (missing.length === 0) return true;
  const text = `conformance: not installed: ${missing.join(', ')}`;
  if (process.env['LAYERSTACK_SKIP_PEERS'] && !process.env['CI']) {
    console.warn(`${text}; LAYERSTACK_SKIP_PEERS is set, so what needs them does NOT run`);
    return false;
  }
  throw new Error(
    `${text}. Install them (see .ci/run), or set LAYERSTACK_SKIP_PEERS=1 to leave these tests out.`,
  );
}
