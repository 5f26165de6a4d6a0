/**
 * The entry of an RW layer: `layerdb/mounts/<key>/{mount-id,init-id,parent}`. dockerd reads it when it
 * starts, and counts `parent` as a reference that keeps the layer.
 */
import { chainIdOf, isDigest } from '../core/digest.ts';
import type { Layout, MountFile } from '../system/layout.ts';
import type { BatchStep } from '../system/native.ts';
import { readText } from '../system/store-files.ts';
import type { RwLayer } from './rwlayer.ts';

const MOUNT_ID = /^[0-9a-f]{64}(-init)?$/;

/** Reads the entry; undefined when it is missing, or has no usable `mount-id`. */
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

/**
 * Returns the steps that make the entry. As soon as it has its `parent`, the layers below are kept.
 * @param sync - each file is on disk before the next step
 */
export function entrySteps(layout: Layout, layer: Omit<RwLayer, 'owner'>, sync = false): BatchStep[] {
  const { key, mountId, initId, parent } = layer;
  const write = (file: MountFile, data: string): BatchStep => ({
    op: 'write',
    path: layout.mount(key, file),
    data,
    mode: 0o644,
    sync,
  });
  return [
    { op: 'mkdir', path: layout.mount(key), mode: 0o755 },
    write('mount-id', mountId),
    ...(initId === undefined ? [] : [write('init-id', initId)]),
    ...(parent === undefined ? [] : [write('parent', parent)]),
  ];
}

/** Returns the steps that remove the entry, or the parts of it that exist. */
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
