/**
 * Dumps and compares directory trees: names as bytes, types, modes, owners, devices, times, targets, xattrs,
 * hard link groups, contents.
 */
import { fileURLToPath } from 'node:url';
import { must } from './process.ts';

export interface TreeEntry {
  /** Relative to the root, which is `.`. Bytes that are not UTF-8 are written as `\xNN`. */
  readonly path: string;
  readonly type: 'file' | 'directory' | 'symlink' | 'char' | 'block' | 'fifo' | 'socket';
  readonly mode: string;
  readonly uid: number;
  readonly gid: number;
  /** Nanoseconds since the epoch. */
  readonly mtime: string;
  readonly rdev?: string;
  readonly target?: string;
  readonly size?: number;
  readonly sha256?: string;
  /** For a file with several names: the first of them in this tree. */
  readonly inode?: string;
  /** Values in hex. */
  readonly xattrs?: Readonly<Record<string, string>>;
}

export type Tree = Map<string, TreeEntry>;

const SCRIPT = fileURLToPath(new URL('tree.py', import.meta.url));

/** Returns every entry below `directory`, sorted by path. */
export async function dumpTree(directory: string): Promise<Tree> {
  const lines = (await must('python3', [SCRIPT, directory])).trimEnd().split('\n');
  return new Map(
    lines.map((line) => {
      const entry = JSON.parse(line) as TreeEntry;
      return [entry.path, entry];
    }),
  );
}

/** Returns a copy with every entry mapped. Entries that map to undefined are removed. */
export function mapTree(tree: Tree, map: (entry: TreeEntry) => TreeEntry | undefined): Tree {
  const result: Tree = new Map();
  for (const entry of tree.values()) {
    const mapped = map(entry);
    if (mapped) result.set(mapped.path, mapped);
  }
  return result;
}

/** Returns the differences, one readable line each; empty if the trees are equal. */
export function compareTrees(found: Tree, expected: Tree): string[] {
  const lines: string[] = [];
  for (const path of new Set([...found.keys(), ...expected.keys()])) {
    const mine = found.get(path);
    const theirs = expected.get(path);
    if (!mine) lines.push(`${path}: missing, expected ${JSON.stringify(theirs)}`);
    else if (!theirs) lines.push(`${path}: not expected, found ${JSON.stringify(mine)}`);
    else lines.push(...compareEntries(mine, theirs));
  }
  return lines;
}

function compareEntries(found: TreeEntry, expected: TreeEntry): string[] {
  const keys = new Set([...Object.keys(found), ...Object.keys(expected)]) as Set<keyof TreeEntry>;
  return [...keys]
    .map((key) => ({ key, mine: JSON.stringify(found[key]), theirs: JSON.stringify(expected[key]) }))
    .filter(({ mine, theirs }) => mine !== theirs)
    .map(({ key, mine, theirs }) => `${found.path}: ${key} is ${mine}, expected ${theirs}`);
}
