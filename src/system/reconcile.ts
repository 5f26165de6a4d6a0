/**
 * Removes the leftovers of dead writers. It looks only at objects that the markers of a dead session name
 * (and, when it reads the layerdb anyway, at its `-removing` entries), never at objects that merely look
 * orphaned, as BuildKit's snapshots do. Every step can be repeated, so if this process dies, the next writer
 * does the rest.
 */
import { constants } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { open, readdir, rm, rmdir } from 'node:fs/promises';
import { basename, dirname, resolve } from 'node:path';
import { isSystemError, unlessMissing } from '../core/errors.ts';
import { Changes } from './changes.ts';
import type { Layout } from './layout.ts';
import type { Logger } from './log.ts';
import { call, native } from './native.ts';
import { REFERENCES_KEY, type Locks } from './lock.ts';
import {
  isEntryName,
  listEntries,
  readEntry,
  removeLayerEntries,
  removePackedLowers,
  removeOverlay,
  restoreLink,
} from './removal.ts';
import { allMarkers, dropSteps, lockSession, sessionFiles, type Marker } from './session.ts';
import { hasDirectory, listDirectory, openStoreFile, readLink, statEntry } from './store-files.ts';

/** Temporary names of files that are renamed into place afterwards (native `replace`). */
const TEMPORARY = /^\.tmp-/;

const SCRATCH = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const NEW_LOCK = constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND;

/** Parallel reads of small files: enough to keep libuv's threads busy. */
const READS = 32;

/**
 * Completes a decided change of images, and reconciles every session under `layerstack/sessions` whose
 * process is dead. Without dead sessions it costs two readdirs and a lock attempt for each live one.
 */
export async function reconcile(layout: Layout, log: Logger, locks: Locks): Promise<void> {
  const changes = new Changes(layout, log);
  await completeChange(layout, changes, log, locks);
  for (const name of await listEntries(layout, layout.sessions)) {
    const lock = await lockDead(layout, layout.session(name));
    if (lock === undefined) continue;
    try {
      await reconcileSession({ layout, log, locks }, changes, name);
    } finally {
      await lock.close();
    }
  }
}

/**
 * Does `work` for each object of `kind` that dead sessions have marked, and then removes the marker. Where
 * `work` fails, the marker stays. If this process dies in between, the work is done twice. It is for objects
 * that only their own stores can complete; {@link reconcile} leaves those.
 */
export async function forEachDeadMarker(
  layout: Layout,
  log: Logger,
  kind: 'held' | 'keeping' | 'naming' | 'snapshot',
  work: (object: string) => Promise<void>,
): Promise<void> {
  for (const name of await listEntries(layout, layout.sessions)) {
    const marked = await sessionFiles(layout, name);
    if (!marked.some((marker) => marker.startsWith(`${kind}.`))) continue;
    const lock = await lockDead(layout, layout.session(name));
    if (lock === undefined) continue;
    try {
      for (const marker of marked) {
        if (!marker.startsWith(`${kind}.`)) continue;
        try {
          await work(marker.slice(kind.length + 1));
        } catch (error) {
          log.warn('the objects that a dead writer left stay', { marker, error: String(error) });
          continue;
        }
        await rm(layout.at(layout.session(name, marker)), { force: true });
      }
      await dropSession(layout, name);
    } finally {
      await lock.close();
    }
  }
}

/** The prefix of the scratch directories of native/sys/probe, in the root. */
const PROBE = /^\.probe-/;

/** Returns the unused scratch directories. A process locks the one that it uses. */
export async function* deadProbes(layout: Layout): AsyncGenerator<string, void, undefined> {
  for (const name of (await listDirectory(layout.root)) ?? []) {
    if (!PROBE.test(name) || !hasDirectory(layout.at(name))) continue;
    const directory = await unlessMissing(open(layout.at(name), SCRATCH));
    if (directory === undefined) continue;
    try {
      if (native.tryFlock(directory.fd, true)) yield name;
    } finally {
      await directory.close();
    }
  }
}

/** Removes the scratch directories of processes that died while they probed the system. */
export async function sweepProbes(layout: Layout, log: Logger): Promise<void> {
  for await (const name of deadProbes(layout)) {
    try {
      await call(native.removeTree(layout.root, name));
    } catch (error) {
      logUnremovable(log, name, error);
    }
  }
}

/** Yields the names of dead sessions. Each is locked until the next one is requested. */
export async function* deadSessions(layout: Layout): AsyncGenerator<string, void, undefined> {
  for (const name of await listEntries(layout, layout.sessions)) {
    try {
      const lock = await lockSession(layout.at(layout.session(name)));
      if (lock === undefined) continue;
      try {
        yield name;
      } finally {
        await lock.close();
      }
    } catch (error) {
      if (!isSystemError(error, 'ENOENT', 'ENOTDIR')) throw error;
      // A session without a lock has just begun, or its writer died before it took the lock.
      if (statEntry(layout.at(layout.session(name))) !== undefined) yield name;
    }
  }
}

/**
 * Completes a pending change, unless another process holds the lock: the holder completes it first of all.
 */
async function completeChange(layout: Layout, changes: Changes, log: Logger, locks: Locks): Promise<void> {
  if ((await listEntries(layout, layout.changes)).length === 0) return;
  const lock = locks.tryEach('references', [REFERENCES_KEY]);
  try {
    if (lock.keys.size === 0) return;
    await changes.complete();
    await changes.sweep();
  } catch (error) {
    logIncompletable(log, error);
  } finally {
    await lock.release();
  }
}

/** All readers see the change as done, so a failure does not prevent opening the store. */
function logIncompletable(log: Logger, error: unknown): void {
  if (!isSystemError(error)) throw error;
  log.warn(`an interrupted change of images cannot be completed yet: ${error.message}`);
}

/**
 * Takes the lock of a directory that a dead process left, by its path in the root. Returns undefined where a
 * process holds the lock, or where the directory is missing or was empty.
 */
export async function lockDead(layout: Layout, path: string): Promise<FileHandle | undefined> {
  const directory = layout.at(path);
  for (;;) {
    try {
      return await lockSession(directory);
    } catch (error) {
      if (isSystemError(error, 'ENOTDIR')) return undefined;
      if (!isSystemError(error, 'ENOENT')) throw error;
    }
    // A session without a lock has just begun, or its writer died before it took the lock. A living writer
    // then takes another name.
    if (await dropEmpty(directory)) return undefined;
    const files = await listEntries(layout, path);
    // A writer marks nothing before it has its lock, so a power cut has removed the lock.
    if (files.length > 0 && !files.includes('lock'))
      await (await openStoreFile(`${directory}/lock`, NEW_LOCK)).close();
  }
}

async function dropEmpty(directory: string): Promise<boolean> {
  try {
    await rmdir(directory);
    return true;
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return true;
    if (isSystemError(error, 'ENOTEMPTY', 'EEXIST')) return false;
    throw error;
  }
}

async function reconcileSession(stores: Stores, changes: Changes, name: string): Promise<void> {
  const { layout, log, locks } = stores;
  const markers = (await listEntries(layout, layout.session(name))).filter((file) => file !== 'lock');
  if (markers.length > 0) {
    log.info('completing the work of a writer that died', { session: name, objects: markers.length });
    // A container's mounts entry refers to overlay2 directories, so it is checked before them.
    for (const kind of ['temporary', 'write-set', 'flat', 'lowers', 'container']) {
      for (const marker of markers) await undoMarker(stores, { session: name, marker }, kind, nothing);
    }
    if (markers.some((marker) => NEEDS_REFERENCES.test(marker))) {
      const used = await references(layout);
      for (const kind of ['removing', 'overlay2']) {
        for (const marker of markers) await undoMarker(stores, { session: name, marker }, kind, used);
      }
      await completeRemovals(layout, log, used);
    }
    if (markers.includes('references.change')) {
      await using _lock = await locks.acquire('references', REFERENCES_KEY);
      try {
        await changes.complete();
        await sweepImages(layout);
        await rm(layout.at(layout.session(name, 'references.change')), { force: true });
      } catch (error) {
        logIncompletable(log, error);
      }
    }
  }
  await dropSession(layout, name);
}

/** Removes the session, unless a marker is left. */
async function dropSession(layout: Layout, name: string): Promise<void> {
  const left = (await listEntries(layout, layout.session(name))).filter((file) => file !== 'lock');
  if (left.length === 0) await call(native.batch(layout.root, dropSteps(layout, name)));
}

/**
 * Removes the leftovers of interrupted changes of images and names. Writers hold the `references` lock during
 * a change, and the caller holds it now, so nothing here belongs to a living writer.
 */
async function sweepImages(layout: Layout): Promise<void> {
  const { imageContents, imageMetadatas } = layout;
  const temporaries = async (directory: string): Promise<string[]> =>
    (await listEntries(layout, directory))
      .filter((file) => TEMPORARY.test(file))
      .map((file) => `${directory}/${file}`);
  const files = [...(await temporaries(dirname(layout.repositories))), ...(await temporaries(imageContents))];
  for (const id of await listEntries(layout, imageMetadatas)) {
    const directory = `${imageMetadatas}/${id}`;
    const isEmpty = (await listEntries(layout, directory)).length === 0;
    if (isEmpty || !exists(layout, `${imageContents}/${id}`))
      await call(native.removeTree(layout.root, directory));
    else files.push(...(await temporaries(directory)));
  }
  await call(
    native.batch(
      layout.root,
      files.map((path) => ({ op: 'unlink', path, missing: true })),
    ),
  );
}

const nothing: ReadonlySet<string> = new Set();

/** Leaves out the markers of objects to which layerdb cannot refer. */
const NEEDS_REFERENCES = /^(?!lowers\.|held\.|keeping\.|naming\.|snapshot\.|temporary\.)/;

interface Stores {
  readonly layout: Layout;
  readonly log: Logger;
  readonly locks: Locks;
}

/**
 * Removes the object of `marker` if it is of `kind` and unused, and then the marker. An object that cannot be
 * removed (a file system is mounted in it, a file in it is immutable) stays with its marker, because the
 * store must open all the same.
 */
async function undoMarker(
  stores: Stores,
  { session, marker }: { readonly session: string; readonly marker: string },
  kind: string,
  used: ReadonlySet<string>,
): Promise<void> {
  const dot = marker.indexOf('.');
  const object = marker.slice(dot + 1);
  if (marker.slice(0, dot) !== kind || !isEntryName(object)) return;
  const { layout, log } = stores;
  try {
    if (kind === 'temporary') await removeTemporaries(layout, layout.session(session, marker));
    else await remove(stores, marker as Marker, object, used);
  } catch (error) {
    logUnremovable(log, marker, error);
    return;
  }
  await rm(layout.at(layout.session(session, marker)), { force: true });
}

function logUnremovable(log: Logger, what: string, error: unknown): void {
  if (!isSystemError(error)) throw error;
  const why = error.code === 'EBUSY' ? 'a file system is mounted in it: unmount it' : error.message;
  log.warn(`${what} is incomplete, but cannot be removed: ${why}`, { path: error.path });
}

/** Removes the files and directories whose paths begin with the text of the symlink `marker`. */
async function removeTemporaries(layout: Layout, marker: string): Promise<void> {
  const text = readLink(layout.at(marker));
  if (text === undefined) return;
  const directory = resolve(layout.root, dirname(text));
  const prefix = basename(text);
  if (!TEMPORARY.test(prefix)) return;
  const files = ((await unlessMissing(readdir(directory))) ?? []).filter((file) => file.startsWith(prefix));
  if (files.length > 0) await call(native.removeTree(directory, files));
}

async function remove(
  { layout, locks }: Stores,
  marker: Marker,
  object: string,
  used: ReadonlySet<string>,
): Promise<void> {
  if (marker.startsWith('write-set.')) {
    await call(native.removeTree(layout.root, layout.writeSet(`write-set-${object}`)));
  } else if (marker.startsWith('flat.')) {
    await call(native.removeTree(layout.root, layout.flat(object)));
  } else if (marker.startsWith('lowers.')) {
    await removePackedLowers(layout, object);
  } else if (marker.startsWith('container.')) {
    if (!(await isCompleteContainer(layout, object))) {
      await call(native.removeTree(layout.root, layout.mount(object)));
      await call(native.removeTree(layout.root, layout.container(object)));
      await dropNames(layout, locks, object);
    }
  } else if (marker.startsWith('removing.')) {
    if (object.endsWith('-removing')) await removeLayerEntries(layout, [object], (id) => used.has(id));
  } else if (used.has(object)) {
    await restoreLink(layout, object);
  } else {
    // A rollback of a mounted container leaves a mount there.
    await call(native.unmount(layout.at(layout.overlay(object, 'merged')), true));
    await removeOverlay(layout, object);
  }
}

/** Releases the names of a removed container. A process that claims one meanwhile holds its lock. */
async function dropNames(layout: Layout, locks: Locks, id: string): Promise<void> {
  for (const name of await listEntries(layout, layout.names)) {
    const path = layout.name(name);
    if (readLink(layout.at(path)) !== id) continue;
    await using _lock = await locks.acquire('containers', `name:${name}`);
    if (readLink(layout.at(path)) === id)
      await call(native.batch(layout.root, [{ op: 'unlink', path, missing: true }]));
  }
}

/**
 * Returns whether the container can be mounted: whether its entry in layerdb/mounts exists, and the overlay2
 * directories that the entry names.
 */
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

/** Returns the overlay2 directories of all layers, RW layers and init layers. */
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

/**
 * Completes the `-removing` entries that no living writer has marked. A removal is marked before its entry is
 * renamed.
 */
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
