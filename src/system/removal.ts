/**
 * Removes objects of the store in an order that can be repeated after a crash: the short name first, then the
 * content, then the entry that names the content. The order is that of moby/moby:
 * daemon/internal/layer/layer_store.go.
 */
import { isSystemError } from '../core/errors.ts';
import type { Layout } from './layout.ts';
import { call, native } from './native.ts';
import { listDirectory, readLink, readText, readTexts } from './store-files.ts';

/** Reads the trimmed text of a small file of the store; undefined where it is missing. */
export async function readEntry(layout: Layout, path: string): Promise<string | undefined> {
  try {
    return (await readTexts([layout.at(path)]))[0]?.trim();
  } catch (error) {
    if (isSystemError(error, 'ENOTDIR', 'EISDIR')) return undefined;
    throw error;
  }
}

/** Returns the names in a directory of the store; none where it is missing. */
export async function listEntries(layout: Layout, path: string): Promise<string[]> {
  return (await listDirectory(layout.at(path))) ?? [];
}

/**
 * Returns whether `name` is one safe path component. A cache-id from disk must be one before it is used in a
 * path.
 */
export function isEntryName(name: string): boolean {
  return name !== '' && name !== '.' && name !== '..' && !/[/\0]/.test(name);
}

/** Searches `overlay2/l` for the name that points to `overlay2/<id>/diff`. */
export async function findLink(layout: Layout, id: string): Promise<string | undefined> {
  for (const link of await listEntries(layout, layout.links)) {
    if (pointsTo(layout, link, id)) return link;
  }
  return undefined;
}

/**
 * Removes `overlay2/<id>` and its short name. Missing ones are ignored.
 * @throws system error EBUSY when something is mounted below it.
 */
export async function removeOverlay(layout: Layout, id: string): Promise<void> {
  await removeOverlays(layout, [id]);
}

/**
 * Restores the short name of `overlay2/<id>` from its `link`, where a writer died before making or after
 * removing it.
 */
export async function restoreLink(layout: Layout, id: string): Promise<void> {
  const link = readText(layout.at(layout.overlay(id, 'link')))?.trim();
  if (link === undefined || link === '' || !isEntryName(link) || pointsTo(layout, link, id)) return;
  await call(
    native.batch(layout.root, [
      { op: 'unlink', path: layout.link(link), missing: true },
      { op: 'symlink', path: layout.link(link), target: `../${id}/diff` },
    ]),
  );
}

async function removeOverlays(layout: Layout, ids: readonly string[]): Promise<void> {
  const links: string[] = [];
  for (const id of ids) {
    const text = readText(layout.at(layout.overlay(id, 'link')))?.trim();
    if (text === undefined) continue;
    // After a power cut `link` may exist without its content.
    const link = text !== '' && isEntryName(text) ? text : await findLink(layout, id);
    // The short name may now belong to the layer that replaced this one.
    if (link !== undefined && pointsTo(layout, link, id)) links.push(link);
  }
  const steps = links.map((link) => ({ op: 'unlink', path: layout.link(link), missing: true }) as const);
  await call(native.batch(layout.root, steps));
  await call(
    native.removeTree(
      layout.root,
      ids.map((id) => layout.overlay(id)),
    ),
  );
}

/**
 * Completes the removal of the `-removing` entries `layerdb/sha256/<name>`. It removes their contents, unless
 * `keep` says that another entry has them, and then the entries. Each step is one native call for all
 * entries. The reads before it block for some 30 µs an entry.
 */
export async function removeLayerEntries(
  layout: Layout,
  names: readonly string[],
  keep: (cacheId: string) => boolean,
): Promise<void> {
  const entries = names.map((name) => `${layout.layers}/${name}`);
  const contents = entries.flatMap((entry) => {
    const cacheId = readText(layout.at(`${entry}/cache-id`))?.trim();
    const known = cacheId !== undefined && isEntryName(cacheId) && cacheId !== 'l';
    return known && !keep(cacheId) ? [cacheId] : [];
  });
  await removeOverlays(layout, contents);
  await call(native.removeTree(layout.root, entries));
}

/** A directory that is being removed is called `<id>-removing`, while its short name still has the id. */
function pointsTo(layout: Layout, link: string, id: string): boolean {
  return readLink(layout.at(layout.link(link))) === `../${id.replace(/-removing$/, '')}/diff`;
}

/** Unmounts packed layers that a mount has not yet taken over, and removes the directory of their mounts. */
export async function removePackedLowers(layout: Layout, name: string): Promise<void> {
  const directory = layout.packedLower(name);
  for (const each of await listEntries(layout, directory))
    await call(native.unmount(layout.at(`${directory}/${each}`), true));
  await call(native.removeTree(layout.root, directory));
}
