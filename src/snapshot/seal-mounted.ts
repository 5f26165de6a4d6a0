/**
 * Seals the upper of a mounted container, while its path can be used. The caller holds the container's lock.
 *
 * 1. The parts of the snapshot are prepared. Its directory in overlay2 is made as the container's *next*
 *    directory: with an empty upper, the container's short name, and a `lower` with the snapshot on top. The
 *    container's directory gets the files of a snapshot's directory: `committed`, `sealed-link` and
 *    `sealed-lower`.
 * 2. The container's mount becomes read-only. This fails where a file is open for writing.
 * 3. The next directory is mounted, with the container's upper as its topmost lower.
 * 4. One rename exchanges both directories (rwlayer/replacement.ts). Now the container has the empty upper
 *    and the new mount, and the snapshot has the sealed upper.
 * 5. The old mount is dropped, the two files take the names `link` and `lower`, and the record is published.
 *
 * A kill before step 4 leaves the container as it was, but read-only until the next writer undoes the seal.
 * After step 4 the next writer does step 5. No step after the exchange needs space.
 */
import { isSystemError, LayerstackError } from '../core/errors.ts';
import { newLinkId } from '../layer/overlay.ts';
import { dropEntrySteps, entrySteps } from '../rwlayer/entry.ts';
import type { Lowers } from '../rwlayer/lowers.ts';
import { withdraw, type Replacement } from '../rwlayer/replacement.ts';
import type { RwLayer } from '../rwlayer/rwlayer.ts';
import { childSteps, overlayOf, sealedBelow, shortNameOf } from '../rwlayer/sealed.ts';
import { requireSoleMount, writersError } from '../rwlayer/users.ts';
import type { Layout } from '../system/layout.ts';
import { call, native, type BatchStep } from '../system/native.ts';
import { findLink, removeOverlay } from '../system/removal.ts';
import type { Root } from '../system/root.ts';
import type { Marker } from '../system/session.ts';
import { spaceError } from '../system/space.ts';
import { statEntry } from '../system/store-files.ts';
import { belowSnapshot, publishStep, stageSteps, syncedFile } from './parts.ts';
import type { Sealing } from './stack.ts';

export interface MountedSealing extends Sealing {
  readonly replacement: Replacement;
  /** The lowers of the container's mount. */
  readonly lowers: Lowers;
}

/**
 * Seals the upper, and publishes the record. After an error the container and the store are as they were,
 * except that the snapshot stays where `durable` cannot bring it to disk.
 * @throws {@link LayerstackError} ERR_CONTAINER_BUSY when the upper may be written to by another process,
 *   ERR_STORE_CORRUPT for a container without a short name, ERR_STORE_UNSUPPORTED on a file system that
 *   cannot exchange two directories, ERR_NO_SPACE; system errors.
 */
export async function sealMounted(root: Root, layer: RwLayer, sealing: MountedSealing): Promise<void> {
  const { id } = sealing.record.snapshot;
  const session = root.session();
  const markers: Marker[] = [`snapshot.${id}`];
  try {
    await session.mark(markers, prepareSteps(root, layer, sealing));
    // A mount that is made from now on is a copy of this one, so it is read-only too.
    await requireSoleMount(root, layer);
    await session.mark([], exchangeSteps(root, layer, sealing));
    await finish(root, id);
    await root.aftermath.run('a marker stays for the next writer', () => session.unmark(markers));
  } catch (error) {
    const cause = isBusy(error) ? await writersError(root, layer, error) : error;
    const isSealed = await root.aftermath.run(
      'parts of a failed snapshot stay until the next writer removes them',
      async () => {
        const sealed = await resumeMountedSeal(root, id, layer);
        await session.unmark(markers);
        return sealed;
      },
    );
    if (isSealed !== true) throw explain(layer, spaceError(cause, root.layout.root));
  }
  if (sealing.durable) await root.disk.sync();
}

/**
 * Resumes the seal of a mounted container: completes it after the exchange, or undoes it before. It can be
 * repeated. The caller holds the container's lock.
 * @param layer - the RW layer of the container; undefined when it was removed
 * @returns whether the upper is sealed, and the snapshot published
 */
export async function resumeMountedSeal(
  root: Root,
  id: string,
  layer: RwLayer | undefined,
): Promise<boolean> {
  const { layout } = root;
  if (isExchanged(layout, id)) {
    await finish(root, id);
    return true;
  }
  await withdraw(root, layer, id);
  const link = await findLink(layout, id);
  const files = layer === undefined ? [] : sealedFiles(layout, layer.mountId);
  await unlinkAll(root, [...files, ...(link === undefined ? [] : [layout.link(link)])]);
  await removeOverlay(layout, id);
  const parts: BatchStep[] = [
    ...dropEntrySteps(layout, id),
    { op: 'removeTree', path: layout.childrenOf(id) },
  ];
  await call(native.batch(layout.root, parts));
  await unlinkAll(root, [layout.stagedSnapshot(id)]);
  return false;
}

async function unlinkAll({ layout }: Root, paths: readonly string[]): Promise<void> {
  const steps = paths.map((path) => ({ op: 'unlink', path, missing: true }) as const);
  await call(native.batch(layout.root, steps));
}

/** Returns whether the unfinished snapshot seals a mounted container. */
export function isMountedSeal(layout: Layout, id: string): boolean {
  return statEntry(layout.at(layout.overlay(id, 'merged'))) !== undefined;
}

/** Returns whether the exchange was made: only then the snapshot's directory has `committed`. */
function isExchanged(layout: Layout, id: string): boolean {
  return statEntry(layout.at(layout.overlay(id, 'committed'))) !== undefined;
}

/** Steps 1 to 3. Each file is on disk before the exchange. */
function prepareSteps(
  { layout }: Root,
  layer: RwLayer,
  { record, stack, replacement, lowers }: MountedSealing,
): BatchStep[] {
  const { id, layer: parent } = record.snapshot;
  const { mountId, owner, key } = layer;
  const [top] = stack.sealed;
  const link = newLinkId();
  const own = shortNameOf(layout, mountId)?.slice('l/'.length);
  if (own === undefined)
    throw new LayerstackError(
      'ERR_STORE_CORRUPT',
      `${owner} has no valid short name: \`layerstack fsck --repair\` writes a new one`,
      { id: key },
    );
  // The stack may name a merged upper in place of sealed uppers, which may be removed.
  const below = [...stack.sealed, ...lowers.list.slice(sealedBelow(layout, layer).length)];
  const [committed = '', sealedLink = '', sealedLower = ''] = sealedFiles(layout, mountId);
  return [
    ...stageSteps(layout, record),
    { op: 'mkdir', path: layout.overlay(id), mode: 0o710 },
    { op: 'mkdir', path: layout.overlay(id, 'merged'), mode: 0o700 },
    { op: 'mkdir', path: layout.overlay(id, 'work'), mode: 0o700 },
    syncedFile(layout.overlay(id, 'link'), own, 0o644),
    syncedFile(layout.overlay(id, 'lower'), [`l/${link}`, ...stack.lowers].join(':'), 0o644),
    { op: 'symlink', path: layout.link(link), target: `../${id}/diff` },
    ...(top === undefined ? [] : childSteps(layout, overlayOf(layout, top), id)),
    ...childSteps(layout, id, mountId),
    ...entrySteps(layout, { key: id, mountId: id, initId: undefined, parent }, true),
    syncedFile(sealedLink, link, 0o644),
    syncedFile(sealedLower, belowSnapshot(layout, layer, stack.lowers).join(':'), 0o644),
    { op: 'write', path: committed, data: '', mode: 0o600 },
    ...replacement.sealSteps(),
    // After this step, writes fail. So the copy has the final attributes.
    { op: 'emptyCopy', root: layout.at(layout.overlay2), from: `${mountId}/diff`, to: `${id}/diff` },
    ...replacement.mountSteps({ list: [`${mountId}/diff`, ...below], packed: lowers.packed }),
  ];
}

function exchangeSteps(
  { layout }: Root,
  { mountId }: RwLayer,
  { record, replacement }: MountedSealing,
): BatchStep[] {
  const { id } = record.snapshot;
  return [
    ...replacement.countSteps(),
    { op: 'exchange', from: layout.overlay(id), to: layout.overlay(mountId) },
  ];
}

/** Step 5. It can be repeated. */
async function finish({ layout }: Root, id: string): Promise<void> {
  const [, sealedLink = '', sealedLower = ''] = sealedFiles(layout, id);
  const isThere = (path: string): boolean => statEntry(layout.at(path)) !== undefined;
  const steps: BatchStep[] = [
    { op: 'unmountBehind', target: layout.at(layout.overlay(id, 'merged')) },
    ...(isThere(sealedLower)
      ? [{ op: 'rename', from: sealedLower, to: layout.overlay(id, 'lower') } as const]
      : []),
    ...(isThere(sealedLink)
      ? [{ op: 'rename', from: sealedLink, to: layout.overlay(id, 'link') } as const]
      : []),
    ...(isThere(layout.stagedSnapshot(id)) ? [publishStep(layout, id)] : []),
    { op: 'removeTree', path: layout.overlay(id, 'work') },
    // Last, since its presence says that the seal may need to be resumed.
    { op: 'rmdir', path: layout.overlay(id, 'merged'), missing: true },
  ];
  await call(native.batch(layout.root, steps));
}

/** Returns the files in the container's directory for the snapshot; {@link isExchanged} has the first. */
function sealedFiles(layout: Layout, id: string): string[] {
  const directory = layout.overlay(id);
  return [layout.overlay(id, 'committed'), `${directory}/sealed-link`, `${directory}/sealed-lower`];
}

function isBusy(error: unknown): boolean {
  return isSystemError(error, 'EBUSY') && /^mount/.test(String(error.syscall));
}

function explain({ key, owner }: RwLayer, error: unknown): unknown {
  if (!isSystemError(error, 'EINVAL', 'ENOSYS') || error.syscall !== 'rename') return error;
  return new LayerstackError(
    'ERR_STORE_UNSUPPORTED',
    `${owner} cannot be sealed while it is mounted: the file system of the store cannot exchange two ` +
      'directories; unmount it, or take a copy (mode `copy`)',
    { id: key, cause: error },
  );
}
