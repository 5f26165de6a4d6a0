/**
 * The entry of an RW layer: `layerdb/mounts/<key>/{mount-id,init-id,parent}`. dockerd reads it at its start,
 * and takes `parent` for a reference that keeps the layer.
 */
import { chainIdOf, isDigest } from '../core/digest.ts';
import type { Layout, MountFile } from '../system/layout.ts';
import type { BatchStep } from '../system/native.ts';
import { readText } from '../system/store-files.ts';
import type { NewRwLayer, RwLayer } from './rwlayer.ts';

const MOUNT_ID = /^[0-9a-f]{64}(-init)?$/;

/** What the entry says; undefined where there is none, or one without a usable `mount-id`. */
export function readEntry(
  layout: Layout,
  key: string,
): Pick<RwLayer, 'mountId' | 'initId' | 'parent'> | undefined {
  const read = (file: MountFile) => readText(layout.at(layout.mount(key, file)))?.trim();
  const [mountId, initId, parent] = [read('mount-id'), read('init-id'), read('parent')];
  if (mountId === undefined || !MOUNT_ID.test(mountId)) return undefined;
  return {
    mountId,
    initId: initId !== undefined && MOUNT_ID.test(initId) ? initId : undefined,
    parent: parent !== undefined && isDigest(parent) ? chainIdOf(parent) : undefined,
  };
}

/** Makes the entry. From its `parent` on the layers below are pinned. */
export function entrySteps(layout: Layout, { key, mountId, initId, parent }: NewRwLayer): BatchStep[] {
  const write = (file: MountFile, data: string): BatchStep => ({
    op: 'write',
    path: layout.mount(key, file),
    data,
    mode: 0o644,
  });
  return [
    { op: 'mkdir', path: layout.mount(key), mode: 0o755 },
    write('mount-id', mountId),
    write('init-id', initId),
    ...(parent === undefined ? [] : [write('parent', parent)]),
  ];
}

/** Removes the entry, as far as it is there. */
export function dropEntrySteps(layout: Layout, key: string): BatchStep[] {
  return [
    ...(['mount-id', 'init-id', 'parent'] as const).map((file): BatchStep => ({
      op: 'unlink',
      path: layout.mount(key, file),
      missing: true,
    })),
    { op: 'rmdir', path: layout.mount(key), missing: true },
  ];
}
