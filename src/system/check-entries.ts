/**
 * Checks for entries that the store never makes: links, fifos, sockets and devices where it has files and
 * directories. The store does not read or write through them, so operations on these paths fail until they
 * are removed.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Problem } from '../core/store-finding.ts';
import type { Layout } from './layout.ts';
import { isPlanted, listDirectory, statEntry } from './store-files.ts';

/** The check yields to other work on the event loop after this many entries. */
const SLICE = 256;
/** The device that dockerd puts beside the layers where the file system has quotas. */
const QUOTA_DEVICE = 'backingFsBlockDev';

/** Directories of files, with the depth to which their subdirectories hold files of the store. */
function places(layout: Layout): readonly (readonly [path: string, depth: number])[] {
  return [
    ['image', 0],
    ['image/overlay2', 0],
    [layout.imageContents, 0],
    [layout.imageMetadatas, 1],
    [layout.layers, 1],
    [layout.writeSets, 1],
    [layout.mounts, 1],
    [layout.diffIdsByDigest, 0],
    [layout.sourcesByDiffId, 0],
    [layout.overlay2, 1],
    [layout.containers, 1],
    [layout.own, 1],
    [layout.sessions, 1],
    [layout.originalManifests, 1],
    [layout.archivedBlobs, 0],
    [layout.packedLayers, 1],
    [layout.packedImageContents, 0],
    [layout.packedImageMetadatas, 1],
  ];
}

/** Yields each such entry once. */
export async function* checkEntries(layout: Layout): AsyncGenerator<Problem> {
  const seen = new Set<string>();
  let looked = 0;
  for (const [top, depth] of places(layout)) {
    let level = [top];
    for (let below = 0; below <= depth; below++) {
      const next: string[] = [];
      for (const directory of level)
        for (const name of await namesIn(layout, directory)) {
          if (++looked % SLICE === 0) await nextTurn();
          const path = `${directory}/${name}`;
          const kind = statEntry(layout.at(path))?.kind;
          if (kind === 'directory') next.push(path);
          if ((kind !== 'link' && kind !== 'other') || seen.has(path) || isOwn(layout, directory, name))
            continue;
          seen.add(path);
          yield planted(path, kind === 'link' ? 'a symbolic link' : 'a fifo, socket or device');
        }
      // These directories hold links (short names, container names) or the content of layers, which may be
      // anything.
      level = next.filter((path) => path !== layout.links && path !== layout.names && path !== layout.flats);
    }
  }
}

/**
 * Returns whether the entry is expected: the store or dockerd makes such a link or device. An entry in the
 * place of a file of names, or the old file beside it, counts too: the check of names reports and repairs it.
 */
function isOwn(layout: Layout, directory: string, name: string): boolean {
  if (directory === layout.links || directory === layout.names || name === QUOTA_DEVICE) return true;
  const path = `${directory}/${name}`;
  return [layout.repositories, layout.packedRepositories].some(
    (file) => path === file || (path.startsWith(`${file}.`) && path.endsWith('.broken')),
  );
}

/**
 * Returns the entries of a directory; none where it is missing or a link is in its path. Such a link is
 * reported by itself.
 */
async function namesIn(layout: Layout, directory: string): Promise<string[]> {
  try {
    return (await listDirectory(layout.at(directory))) ?? [];
  } catch (error) {
    if (isPlanted(error) || (error as { code?: string }).code === 'ENOTDIR') return [];
    throw error;
  }
}

function planted(path: string, what: string): Problem {
  return {
    code: 'entry-planted',
    severity: 'error',
    path,
    message: `${what} is where the store has a file or directory: layerstack neither reads nor writes through it`,
    advice: 'find out which program or user made it, and remove it',
  };
}

/** Runs a check, and ends it early at a planted entry, which {@link checkEntries} has reported. */
export async function* untilPlanted(check: AsyncGenerator<Problem>): AsyncGenerator<Problem> {
  try {
    yield* check;
  } catch (error) {
    if (!isPlanted(error)) throw error;
  }
}

/** Waits for a value; undefined where a planted entry is in the way, which {@link checkEntries} reports. */
export async function unlessPlanted<T>(value: Promise<T>): Promise<T | undefined> {
  try {
    return await value;
  } catch (error) {
    if (isPlanted(error)) return undefined;
    throw error;
  }
}
