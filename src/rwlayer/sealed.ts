/**
 * The sealed uppers below an RW layer. A snapshot seals the upper of a container: from then on it is a lower,
 * and takes no more writes. An RW layer above snapshots has in its `lower`, topmost first, the short names of
 * the sealed uppers, that of its own init layer, and those of the image's layers. The init layer is directly
 * above the image, as it was while the uppers were written, so that whiteouts in the uppers hide the same
 * files of it.
 */
import { LayerstackError } from '../core/errors.ts';
import { isShortName } from '../layer/overlay.ts';
import type { Layout } from '../system/layout.ts';
import type { BatchStep } from '../system/native.ts';
import { readLink, readText, statEntry } from '../system/store-files.ts';
import type { RwLayer } from './rwlayer.ts';

const TARGET = /^\.\.\/([0-9a-f]{64})\/diff$/;

/** Returns the `lower` of an overlay2 directory, topmost first; empty when it is missing. */
export function lowerOf(layout: Layout, id: string): readonly string[] {
  const text = readText(layout.at(layout.overlay(id, 'lower')))?.trim() ?? '';
  return text === '' ? [] : text.split(':');
}

/** Returns the short name of an overlay2 directory, as a `lower` has it; undefined when it is missing. */
export function shortNameOf(layout: Layout, id: string): string | undefined {
  const name = `l/${readText(layout.at(layout.overlay(id, 'link')))?.trim() ?? ''}`;
  return isShortName(name) ? name : undefined;
}

/**
 * Returns the short names of the sealed uppers below an RW layer, topmost first. An RW layer without an init
 * layer has none: only layerstack makes snapshots, and its RW layers have one.
 * @throws {@link LayerstackError} ERR_STORE_CORRUPT when damage hides which lowers are sealed uppers.
 */
export function sealedBelow(layout: Layout, layer: RwLayer): readonly string[] {
  const { mountId, initId } = layer;
  const lowers = lowerOf(layout, mountId);
  if (initId === undefined) {
    if (lowers.some((name) => isSealed(layout, name))) throw unknownStack(layout, layer);
    return [];
  }
  const init = shortNameOf(layout, initId);
  const at = init === undefined ? -1 : lowers.indexOf(init);
  const sealed = lowers.slice(0, Math.max(0, at));
  if (at < 0 || !sealed.every(isShortName)) throw unknownStack(layout, layer);
  return sealed;
}

/** A sealed upper is a directory whose name is also the key of an entry. */
function isSealed(layout: Layout, lower: string): boolean {
  const id = targetOf(layout, lower);
  return id !== undefined && statEntry(layout.at(layout.mount(id))) !== undefined;
}

function unknownStack(layout: Layout, { key, owner, mountId }: RwLayer): LayerstackError {
  const path = layout.at(layout.overlay(mountId, 'lower'));
  return new LayerstackError(
    'ERR_STORE_CORRUPT',
    `${owner} may be above snapshots, but ${path} or the name of its init layer is damaged: ` +
      '`layerstack fsck` says what can be repaired',
    { id: key, path },
  );
}

/** Returns the overlay2 directory that a lower leads to; undefined without a valid target. */
export function targetOf(layout: Layout, lower: string): string | undefined {
  if (!isShortName(lower)) return undefined;
  return TARGET.exec(readLink(layout.at(`${layout.overlay2}/${lower}`)) ?? '')?.[1];
}

/**
 * Returns the overlay2 directory that a short name of a sealed upper leads to.
 * @throws {@link LayerstackError} ERR_STORE_CORRUPT when it has no valid target.
 */
export function overlayOf(layout: Layout, shortName: string): string {
  const id = targetOf(layout, shortName);
  if (id !== undefined) return id;
  const path = layout.at(`${layout.overlay2}/${shortName}`);
  throw new LayerstackError(
    'ERR_STORE_CORRUPT',
    `the short name of a snapshot, ${path}, has no valid target: \`layerstack fsck --repair\` creates it again`,
    { path },
  );
}

/** What an RW layer consists of at one moment. */
export interface Uppers {
  /**
   * The overlay2 directories whose `diff` have its changes since the image: its own, then the sealed ones.
   */
  readonly ids: readonly string[];
  /**
   * Ends a read of these directories.
   * @throws {@link LayerstackError} ERR_UPPER_CHANGED when the RW layer was sealed or rolled back meanwhile,
   *   so that the read may have mixed two states.
   */
  readonly requireSame: () => void;
}

/**
 * Returns the uppers of an RW layer, topmost first.
 * @throws {@link LayerstackError} ERR_STORE_CORRUPT when a short name has no valid target; the errors of
 *   {@link sealedBelow}.
 */
export function uppersOf(layout: Layout, layer: RwLayer): Uppers {
  const { key, owner, mountId } = layer;
  const stamp = (): string =>
    [...lowerOf(layout, mountId), statEntry(layout.at(layout.overlay(mountId, 'diff')))?.ino].join();
  const before = stamp();
  const ids = [mountId, ...sealedBelow(layout, layer).map((name) => overlayOf(layout, name))];
  const requireSame = (): void => {
    // If its directory is missing, the RW layer was removed, which the reader reports.
    const isThere = statEntry(layout.at(layout.overlay(mountId, 'diff'))) !== undefined;
    if (isThere && stamp() !== before)
      throw new LayerstackError(
        'ERR_UPPER_CHANGED',
        `${owner} was sealed or rolled back while it was read: try again`,
        { id: key, retryable: true },
      );
  };
  return { ids, requireSame };
}

/**
 * Returns the steps that replace the `lower` of an overlay2 directory by one rename, after which a power cut
 * leaves the old one or the new one. A temporary file of a writer that died is removed first.
 */
export function replaceLowerSteps(layout: Layout, id: string, lowers: readonly string[]) {
  const path = layout.overlay(id, 'lower');
  const temporary = '.tmp-lower';
  return [
    { op: 'unlink', path: `${layout.overlay(id)}/${temporary}`, missing: true },
    { op: 'replace', path, data: lowers.join(':'), mode: 0o644, temporary },
  ] as const;
}

/**
 * Returns the steps that note a child which is about to be put directly above a sealed upper. They precede
 * the step that does it. Notes of removed children stay, so a note only says where to look. A note names
 * direct children only. That is enough: each RW layer higher up stands on a direct child.
 */
export function childSteps(layout: Layout, sealed: string, child?: string): BatchStep[] {
  const mkdir = (path: string): BatchStep => ({ op: 'mkdir', path, mode: 0o700, exist: true });
  return [
    mkdir(layout.children),
    mkdir(layout.childrenOf(sealed)),
    ...(child === undefined ? [] : [mkdir(layout.childrenOf(sealed, child))]),
  ];
}

/** Explains that the kernel cannot mount sealed uppers. */
export function refuseFlat({ key, owner }: RwLayer): LayerstackError {
  return new LayerstackError(
    'ERR_STORE_UNSUPPORTED',
    `${owner} is above a snapshot, and this kernel mounts only one layer: use Linux 4.0 or later`,
    { id: key },
  );
}
