/**
 * What is in the store that the store does not make: links, fifos, sockets and devices in the places of its files and directories.
 * Nothing of the store reads or writes through them, so whatever needs one of these places fails until somebody has looked.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Problem } from '../core/store-finding.ts';
import type { Layout } from './layout.ts';
import { isPlanted, listDirectory, statEntry } from './store-files.ts';

/** Looking gives way to other work on the event loop after this many entries. */
const SLICE = 256;
/** What dockerd puts beside the layers where the file system has quotas. */
const QUOTA_DEVICE = 'backingFsBlockDev';

/** Directories of files, and how many directories deep below them are files of the store, too. */
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
  ];
}

/** Yields each of them once. */
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
      // Beside the layers there are the short names, and the content, which is anything.
      level = next.filter((path) => path !== layout.links && path !== layout.names && path !== layout.flats);
    }
  }
}

/** Whether it is a link or device that the store, or dockerd, has there. */
function isOwn(layout: Layout, directory: string, name: string): boolean {
  return directory === layout.links || directory === layout.names || name === QUOTA_DEVICE;
}

/** None where the directory is missing, or cannot be reached without a link: that is told of the link itself. */
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
    message: `${what} in the place of a file or directory of the store: nothing is read or written through it`,
    advice: 'find out who made it, and remove it',
  };
}

/** A check, which ends early where it meets what was planted: {@link checkEntries} has told that. */
export async function* untilPlanted(check: AsyncGenerator<Problem>): AsyncGenerator<Problem> {
  try {
    yield* check;
  } catch (error) {
    if (!isPlanted(error)) throw error;
  }
}
