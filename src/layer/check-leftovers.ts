/**
 * Checks overlay2 and layerdb for entries that belong to no layer: unfinished changes of a dead process,
 * dangling short names, and directories without an owner. Objects that a live writer has marked are skipped.
 */
import type { Problem } from '../core/store-finding.ts';
import type { Layout } from '../system/layout.ts';
import { call, native } from '../system/native.ts';
import { listEntries, removeLayerEntries } from '../system/removal.ts';
import type { Root } from '../system/root.ts';
import { allMarkers } from '../system/session.ts';
import { hasDirectory, readLink, readText, statEntry } from '../system/store-files.ts';
import { usedDirectories } from './cache-ids.ts';
import { apply } from './check-overlay.ts';
import { isShortName } from './overlay.ts';
import { unclaimedDirectories } from './unclaimed.ts';

/**
 * Finds objects that a process was making or removing when it died. A killed dockerd leaves such objects,
 * since it completes removals only when it stops gracefully.
 */
export async function* checkUnfinished(root: Root): AsyncGenerator<Problem> {
  const { layout } = root;
  const found = [
    ...(await listEntries(layout, layout.writeSets)).map((name) => ({
      path: layout.writeSet(name),
      marker: name.replace(/^write-set-/, 'write-set.'),
      what: 'a layer that was being added',
      remove: () => call(native.removeTree(layout.root, layout.writeSet(name))).then(() => undefined),
    })),
    ...(await listEntries(layout, layout.layers))
      .filter((name) => name.endsWith('-removing'))
      .map((name) => ({
        path: `${layout.layers}/${name}`,
        marker: `removing.${name}`,
        what: 'a layer that was being removed',
        remove: async () => {
          const used = await usedDirectories(layout, (other) => other === name);
          await removeLayerEntries(layout, [name], (cacheId) => used.has(cacheId));
        },
      })),
    ...(await listEntries(layout, layout.overlay2))
      .filter((name) => name.endsWith('-removing'))
      .map((name) => ({
        path: layout.overlay(name),
        marker: `overlay2.${name}`,
        what: 'a directory that was being removed',
        remove: () => call(native.removeTree(layout.root, layout.overlay(name))).then(() => undefined),
      })),
  ];
  const marked = await allMarkers(layout);
  for (const { path, marker, what, remove } of found) {
    if (marked.has(marker) || statEntry(layout.at(path)) === undefined) continue;
    yield {
      code: 'unfinished',
      severity: 'warning',
      path,
      message: `${what} by a process that died`,
      advice: 'repair removes it',
      repair: async () => {
        root.session();
        await remove();
      },
    };
  }
}

export async function* checkLinks(root: Root): AsyncGenerator<Problem> {
  const { layout } = root;
  for (const name of await listEntries(layout, layout.links)) {
    const path = layout.link(name);
    const target = readLink(layout.at(path));
    const id = /^\.\.\/([^/]+)\/diff$/.exec(target ?? '')?.[1];
    if (id !== undefined && hasDirectory(layout.at(layout.overlay(id, 'diff')))) continue;
    if (id !== undefined && (await allMarkers(layout)).has(`overlay2.${id}`)) continue;
    if (target === undefined && statEntry(layout.at(path)) === undefined) continue;
    yield {
      code: 'link-dangling',
      severity: 'warning',
      path,
      message:
        target === undefined
          ? 'not a short name (a symbolic link to ../CACHE-ID/diff)'
          : `a short name of ${target}, which does not exist`,
      advice: target === undefined ? 'find out what it is, and move it elsewhere' : 'repair removes it',
      repair: target === undefined ? undefined : () => apply(root, [{ op: 'unlink', path, missing: true }]),
    };
  }
}

/**
 * Finds directories without an owner. They are only reported: some may hold somebody's work
 * (rwlayer/orphans.ts removes the others).
 */
export async function* checkOrphans(
  root: Root,
  { containers }: { readonly containers: ReadonlySet<string> },
): AsyncGenerator<Problem> {
  const { layout } = root;
  const orphans = await unclaimedDirectories(layout, () => containers);
  const needed = orphans.length === 0 ? orphans : lowersOf(layout, containers);
  for (const id of orphans) {
    const isNeeded = needed.includes(id);
    yield {
      code: 'overlay-orphan',
      severity: 'note',
      path: layout.overlay(id),
      message: isNeeded
        ? 'a container has this directory in its `lower`, but no layer or snapshot has it'
        : 'no layer, container or BuildKit snapshot uses this directory',
      advice: isNeeded
        ? 'keep it as long as the container'
        : "`prune --orphans` removes it, if it cannot hold anybody's work",
    };
  }
}

/** Returns the directories that the `lower` files of containers lead to. */
function lowersOf(layout: Layout, containers: ReadonlySet<string>): string[] {
  return [...containers].flatMap((id) =>
    (readText(layout.at(layout.overlay(id, 'lower'))) ?? '')
      .trim()
      .split(':')
      .filter(isShortName)
      .map((lower) => readLink(layout.at(`${layout.overlay2}/${lower}`))?.split('/')[1] ?? ''),
  );
}
