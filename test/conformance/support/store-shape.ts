/** Stores as comparable trees: each random name is replaced by the identity of its object. */
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { compareTrees, dumpTree, mapTree, type Tree, type TreeEntry } from '../../support/tree.ts';

const read = (...path: string[]) => readFileSync(join(...path), 'utf8');

/** Maps cache-id to ChainID for every layer of a store. */
export function layersOf(root: string): Map<string, string> {
  const layerdb = join(root, 'image/overlay2/layerdb/sha256');
  return new Map(readdirSync(layerdb).map((chain) => [read(layerdb, chain, 'cache-id'), chain]));
}

/** Maps link id to ChainID. */
function linksOf(root: string, layers: Map<string, string>): Map<string, string> {
  return new Map([...layers].map(([cacheId, chain]) => [read(root, 'overlay2', cacheId, 'link'), chain]));
}

/**
 * Returns the metadata of a store. Random names are replaced by the identity of their object; times and file
 * checksums are omitted.
 */
export async function shapeOf(root: string): Promise<Tree> {
  const layers = layersOf(root);
  const links = linksOf(root, layers);
  const named = (text: string) =>
    text
      .replace(/[0-9a-f]{64}/g, (id) => (layers.has(id) ? `layer-${layers.get(id) ?? ''}` : id))
      .replace(/\b[A-Z2-7]{26}\b/g, (id) => `link-${links.get(id) ?? id}`);
  const shape =
    (prefix: string) =>
    (entry: TreeEntry): TreeEntry | undefined => {
      const path = `${prefix}/${entry.path}`;
      if (/^overlay2\/[0-9a-f]{64}\/(diff|work|merged)\/./.test(path)) return undefined;
      const { type, mode, uid, gid } = entry;
      const target = entry.target === undefined ? {} : { target: named(entry.target) };
      const content = type === 'file' && !path.endsWith('.gz') ? { sha256: named(read(root, path)) } : {};
      return { path: named(path), type, mode, uid, gid, mtime: '', ...target, ...content };
    };
  const result: Tree = new Map();
  for (const prefix of ['image', 'overlay2'])
    for (const [path, entry] of mapTree(await dumpTree(join(root, prefix)), shape(prefix)))
      result.set(path, entry);
  return result;
}

/** Lists the differences between the layers of one store and the same layers of another, a line each. */
export async function layerDifferences(root: string, expected: string): Promise<string[]> {
  const reference = new Map([...layersOf(expected)].map(([cacheId, chain]) => [chain, cacheId]));
  const recent = (tree: Tree) =>
    mapTree(tree, (entry) => (entry.path === '.' ? { ...entry, mtime: '' } : entry));
  const wrong: string[] = [];
  for (const [cacheId, chain] of layersOf(root)) {
    const mine = await dumpTree(join(root, 'overlay2', cacheId, 'diff'));
    const other = await dumpTree(join(expected, 'overlay2', reference.get(chain) ?? '', 'diff'));
    wrong.push(
      ...compareTrees(withoutNow(recent(mine)), withoutNow(recent(other))).map((line) => `${chain}: ${line}`),
    );
  }
  return wrong;
}

/** Removes the times of whiteouts and parents that no member describes: they have the time of extraction. */
const withoutNow = (tree: Tree) =>
  mapTree(tree, (entry) => (entry.rdev === '0:0' ? { ...entry, mtime: '' } : entry));
