/** The content of a store, to compare before and after, and to print when a test fails. */
import { existsSync } from 'node:fs';
import { onTestFailed } from 'vitest';
import { compareTrees, dumpTree, mapTree, type Tree } from './tree.ts';

/**
 * Returns the store's files without `layerstack/` (locks and caches, which may be deleted at any time) and
 * without directory times, which change when a scratch entry is created and removed.
 */
export async function dumpStore(root: string): Promise<Tree> {
  if (!existsSync(root)) return new Map();
  return mapTree(await dumpTree(root), (entry) => {
    if (entry.path === 'layerstack' || entry.path.startsWith('layerstack/')) return undefined;
    return entry.type === 'directory' ? { ...entry, mtime: '' } : entry;
  });
}

/** Lists the changes in a store since `before`. */
export async function storeChanges(root: string, before: Tree): Promise<string[]> {
  return compareTrees(await dumpStore(root), before);
}

/** Prints the names in the store when the running test fails. */
export function showStoreOnFailure(root: string): void {
  onTestFailed(async () => {
    const tree = await dumpStore(root);
    const lines = [...tree.values()]
      .filter(({ path }) => !/^overlay2\/[^/]+\/(diff|merged)\/./.test(path))
      .map(
        ({ path, type, mode, size }) =>
          `${mode} ${type} ${path}${size === undefined ? '' : ` ${String(size)}`}`,
      );
    console.error(`store ${root}:\n${lines.slice(0, 400).join('\n')}`);
  });
}
