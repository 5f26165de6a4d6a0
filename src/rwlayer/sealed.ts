/**
 * The sealed uppers below an RW layer. A snapshot seals the upper of a container: from then on it is a lower,
 * and takes no more writes. An RW layer above snapshots has in its `lower`, topmost first, the short names of
 * the sealed uppers, that of its own init layer, and those of the image's layers. The init layer is directly
 * above the image, as it was while the uppers were written, so that whiteouts in the uppers hide the same
 * files of it.
 */
import { LayerstackError } from '../core/errors.ts';
import type { Layout } from '../system/layout.ts';
import { readLink, readText, statEntry } from '../system/store-files.ts';
import type { RwLayer } from './rwlayer.ts';

const SHORT_NAME = /^l\/[A-Z2-7]{26}$/;
const TARGET = /^\.\.\/([0-9a-f]{64})\/diff$/;

/** Returns the `lower` of an overlay2 directory, topmost first; empty when it is missing. */
export function lowerOf(layout: Layout, id: string): readonly string[] {
  const text = readText(layout.at(layout.overlay(id, 'lower')))?.trim() ?? '';
  return text === '' ? [] : text.split(':');
}

/** Returns the short name of an overlay2 directory, as a `lower` has it; undefined when it is missing. */
export function shortNameOf(layout: Layout, id: string): string | undefined {
  const name = `l/${readText(layout.at(layout.overlay(id, 'link')))?.trim() ?? ''}`;
  return SHORT_NAME.test(name) ? name : undefined;
}

/**
 * Returns the short names of the sealed uppers below an RW layer, topmost first. An RW layer without an init
 * layer has none: only layerstack makes snapshots, and its RW layers have one.
 */
export function sealedBelow(layout: Layout, { mountId, initId }: RwLayer): readonly string[] {
  const init = initId === undefined ? undefined : shortNameOf(layout, initId);
  const lowers = lowerOf(layout, mountId);
  const at = init === undefined ? -1 : lowers.indexOf(init);
  return at < 0 ? [] : lowers.slice(0, at).filter((name) => SHORT_NAME.test(name));
}

/**
 * Returns the overlay2 directory that a short name of a sealed upper leads to.
 * @throws {@link LayerstackError} ERR_STORE_CORRUPT when it leads nowhere.
 */
export function overlayOf(layout: Layout, shortName: string): string {
  const path = layout.at(`${layout.overlay2}/${shortName}`);
  const id = TARGET.exec(readLink(path) ?? '')?.[1];
  if (id !== undefined) return id;
  throw new LayerstackError(
    'ERR_STORE_CORRUPT',
    `the short name of a snapshot, ${path}, leads nowhere: \`layerstack fsck --repair\` creates it again`,
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
 * @throws {@link LayerstackError} ERR_STORE_CORRUPT when a short name leads nowhere.
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

/** Explains that the kernel cannot mount sealed uppers. */
export function refuseFlat({ key, owner }: RwLayer): LayerstackError {
  return new LayerstackError(
    'ERR_STORE_UNSUPPORTED',
    `${owner} is above a snapshot, and this kernel mounts only one layer: use Linux 4.0 or later`,
    { id: key },
  );
}
