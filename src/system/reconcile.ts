/**
 * Removes what dead writers left half done. Only what the markers of a dead session name is looked at (and, once
 * the layerdb is being read anyway, its `-removing` entries), never what merely looks orphaned: BuildKit's
 * snapshots do. Every step may be repeated, so dying here leaves the rest to the next writer.
 */
import type { FileHandle } from 'node:fs/promises';
import { rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isSystemError } from '../core/errors.ts';
import type { Layout } from './layout.ts';
import type { Logger } from './log.ts';
import { call, native } from './native.ts';
import { REFERENCES_KEY, type Locks } from './lock.ts';
import { isEntryName, listEntries, readEntry, removeLayerEntries, removeOverlay } from './removal.ts';
import { allMarkers, lockSession, type Marker } from './session.ts';
import { statEntry } from './store-files.ts';

/** What the store's writers put next to a file before they rename it into place (native `replace`). */
const TEMPORARY = /^\.tmp-/;

/** Parallel reads of small files: enough to keep libuv's threads busy. */
const READS = 32;

/**
 * Reconciles every session under `layerstack/sessions` whose process is gone. Without dead sessions it costs a
 * readdir and a lock attempt for each live one.
 */
export async function reconcile(layout: Layout, log: Logger, locks: Locks): Promise<void> {
  for (const name of await listEntries(layout, layout.sessions)) {
    const lock = await lockDead(layout, name);
    if (lock === undefined) continue;
    try {
      await reconcileSession(layout, log, locks, name);
    } finally {
      await lock.close();
    }
  }
}

/**
 * Does `work` for each object that dead sessions have left marked as `kind`, and takes the marker away before: dying in between
 * must not have it done twice. For objects of which only their own stores know what to do ({@link reconcile} leaves those).
 */
export async function settleDead(
  layout: Layout,
  kind: 'held',
  work: (object: string) => Promise<void>,
): Promise<void> {
  for (const name of await listEntries(layout, layout.sessions)) {
    const marked = await listEntries(layout, layout.session(name));
    if (!marked.some((marker) => marker.startsWith(`${kind}.`))) continue;
    const lock = await lockDead(layout, name);
    if (lock === undefined) continue;
    try {
      for (const marker of marked) {
        if (!marker.startsWith(`${kind}.`)) continue;
        await rm(layout.at(layout.session(name, marker)), { force: true });
        await work(marker.slice(kind.length + 1));
      }
      await dropSession(layout, name);
    } finally {
      await lock.close();
    }
  }
}

async function lockDead(layout: Layout, name: string): Promise<FileHandle | undefined> {
  try {
    return await lockSession(layout.at(layout.session(name)));
  } catch (error) {
    if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw error;
  }
}

async function reconcileSession(layout: Layout, log: Logger, locks: Locks, name: string): Promise<void> {
  const markers = (await listEntries(layout, layout.session(name))).filter((file) => file !== 'lock');
  if (markers.length > 0) {
    log.info('completing the work of a writer that died', { session: name, objects: markers.length });
    // A container's mounts entry refers to overlay2 directories, so it is judged before them.
    for (const kind of ['write-set', 'flat', 'container']) {
      for (const marker of markers) await settle(layout, log, name, marker, kind, nothing);
    }
    const used = await references(layout);
    for (const kind of ['removing', 'overlay2']) {
      for (const marker of markers) await settle(layout, log, name, marker, kind, used);
    }
    await completeRemovals(layout, log, used);
    if (markers.includes('references.change')) {
      await using lock = await locks.acquire('references', REFERENCES_KEY);
      void lock;
      await sweepImages(layout);
      await rm(layout.at(layout.session(name, 'references.change')), { force: true });
    }
  }
  await dropSession(layout, name);
}

/** Unless something of it is left. */
async function dropSession(layout: Layout, name: string): Promise<void> {
  const left = (await listEntries(layout, layout.session(name))).filter((file) => file !== 'lock');
  if (left.length === 0) await rm(layout.at(layout.session(name)), { recursive: true, force: true });
}

/**
 * Removes what changing images and names leaves when it is interrupted. Whoever changes them holds the `references`
 * lock, and so does the caller: nothing here is anybody's who lives.
 */
async function sweepImages(layout: Layout): Promise<void> {
  const { imageContents, imageMetadatas } = layout;
  const temporaries = async (directory: string): Promise<string[]> =>
    (await listEntries(layout, directory))
      .filter((file) => TEMPORARY.test(file))
      .map((file) => `${directory}/${file}`);
  const files = [...(await temporaries(dirname(layout.repositories))), ...(await temporaries(imageContents))];
  for (const id of await listEntries(layout, imageMetadatas)) {
    if (exists(layout, `${imageContents}/${id}`))
      files.push(...(await temporaries(`${imageMetadatas}/${id}`)));
    else await call(native.removeTree(layout.root, `${imageMetadatas}/${id}`));
  }
  await call(
    native.batch(
      layout.root,
      files.map((path) => ({ op: 'unlink', path, missing: true })),
    ),
  );
}

const nothing: ReadonlySet<string> = new Set();

/**
 * Removes the object of `marker`, when it is of `kind`, and the marker. One that cannot be removed (something is mounted
 * in it, a file in it is immutable) stays, with its marker: the store must open all the same.
 */
async function settle(
  layout: Layout,
  log: Logger,
  session: string,
  marker: string,
  kind: string,
  used: ReadonlySet<string>,
): Promise<void> {
  const dot = marker.indexOf('.');
  const object = marker.slice(dot + 1);
  if (marker.slice(0, dot) !== kind || !isEntryName(object)) return;
  try {
    await remove(layout, marker as Marker, object, used);
  } catch (error) {
    logUnremovable(log, marker, error);
    return;
  }
  await rm(layout.at(layout.session(session, marker)), { force: true });
}

function logUnremovable(log: Logger, what: string, error: unknown): void {
  if (!isSystemError(error)) throw error;
  const why = error.code === 'EBUSY' ? 'something is mounted in it: unmount it' : error.message;
  log.warn(`${what} is half made, but cannot be removed: ${why}`, { path: error.path });
}

async function remove(
  layout: Layout,
  marker: Marker,
  object: string,
  used: ReadonlySet<string>,
): Promise<void> {
  if (marker.startsWith('write-set.')) {
    await call(native.removeTree(layout.root, layout.writeSet(`write-set-${object}`)));
  } else if (marker.startsWith('flat.')) {
    await call(native.removeTree(layout.root, layout.flat(object)));
  } else if (marker.startsWith('container.')) {
    if (!(await isCompleteContainer(layout, object))) {
      await call(native.removeTree(layout.root, layout.mount(object)));
      await call(native.removeTree(layout.root, layout.container(object)));
    }
  } else if (marker.startsWith('removing.')) {
    if (object.endsWith('-removing')) await removeLayerEntries(layout, [object], (id) => used.has(id));
  } else if (!used.has(object)) {
    await removeOverlay(layout, object);
  }
}

/** Whether the container has all that `mount` needs: its mounts entry and the overlay2 directories named there. */
async function isCompleteContainer(layout: Layout, id: string): Promise<boolean> {
  const mountId = await readEntry(layout, layout.mount(id, 'mount-id'));
  const initId = await readEntry(layout, layout.mount(id, 'init-id'));
  const present = await Promise.all(
    [mountId, initId ?? mountId].map(
      async (overlay) =>
        overlay !== undefined && isEntryName(overlay) && exists(layout, layout.overlay(overlay, 'link')),
    ),
  );
  return present.every(Boolean) && exists(layout, layout.container(id, 'config.v2.json'));
}

function exists(layout: Layout, path: string): boolean {
  return statEntry(layout.at(path)) !== undefined;
}

/** The overlay2 directories that a layer, an RW layer or an init layer has. */
async function references(layout: Layout): Promise<Set<string>> {
  const layers = (await listEntries(layout, layout.layers)).filter((name) => !name.endsWith('-removing'));
  const mounts = await listEntries(layout, layout.mounts);
  const files = [
    ...layers.map((name) => `${layout.layers}/${name}/cache-id`),
    ...mounts.flatMap((name) => [layout.mount(name, 'mount-id'), layout.mount(name, 'init-id')]),
  ];
  const used = new Set<string>();
  const reader = async (): Promise<void> => {
    for (let file = files.pop(); file !== undefined; file = files.pop()) {
      const id = await readEntry(layout, file);
      if (id !== undefined) used.add(id);
    }
  };
  await Promise.all(Array.from({ length: READS }, reader));
  return used;
}

/** Completes the `-removing` entries that no live writer is at. A removal is marked before its entry is renamed. */
async function completeRemovals(layout: Layout, log: Logger, used: ReadonlySet<string>): Promise<void> {
  const entries = (await listEntries(layout, layout.layers)).filter((name) => name.endsWith('-removing'));
  if (entries.length === 0) return;
  const marked = await allMarkers(layout);
  for (const name of entries) {
    if (marked.has(`removing.${name}`)) continue;
    try {
      await removeLayerEntries(layout, [name], (id) => used.has(id));
    } catch (error) {
      logUnremovable(log, name, error);
    }
  }
}
