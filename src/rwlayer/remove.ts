/**
 * The steps that remove an RW layer, in dockerd's order: its directory, its init layer, its entry. The
 * directories are only renamed, to `…-removing`. So the steps take a few dozen system calls, however much was
 * written. The trees are deleted afterwards.
 */
import { isLinkId } from '../layer/overlay.ts';
import type { Layout } from '../system/layout.ts';
import type { BatchStep } from '../system/native.ts';
import type { Marker } from '../system/session.ts';
import { readText, statEntry } from '../system/store-files.ts';
import { dropEntrySteps } from './entry.ts';
import { dropCountSteps } from './mount-count.ts';
import type { RwLayer } from './rwlayer.ts';

/** The removal of an RW layer. */
export interface Removal {
  /** The markers name every part, before and after its rename. */
  readonly markers: readonly Marker[];
  /** The steps follow the owner's step, which decides the removal. */
  readonly steps: readonly BatchStep[];
  /** The trees to delete after the steps, relative to the root. */
  readonly trees: readonly string[];
}

/** @see RwLayerStore.removal */
export function removalOf(layout: Layout, { key, mountId, initId }: RwLayer): Removal {
  const overlays = initId === undefined ? [mountId] : [mountId, initId];
  return {
    markers: [...overlays, ...overlays.map(removing)].map((overlay): Marker => `overlay2.${overlay}`),
    steps: [
      ...overlays.flatMap((overlay) => moveAwaySteps(layout, overlay)),
      ...dropEntrySteps(layout, key),
      ...dropCountSteps(layout, mountId),
    ],
    trees: overlays.map((overlay) => layout.overlay(removing(overlay))),
  };
}

/** Returns the steps that take an overlay2 directory out of use; none when it does not exist. */
function moveAwaySteps(layout: Layout, overlay: string): BatchStep[] {
  const directory = layout.overlay(overlay);
  const link = readText(layout.at(layout.overlay(overlay, 'link')))?.trim();
  if (link === undefined && statEntry(layout.at(directory)) === undefined) return [];
  return [
    { op: 'rename', from: directory, to: layout.overlay(removing(overlay)) },
    ...(link !== undefined && isLinkId(link)
      ? [{ op: 'unlink', path: layout.link(link), missing: true } as const]
      : []),
  ];
}

function removing(overlay: string): string {
  return `${overlay}-removing`;
}
