/**
 * The mount count: the uses of an RW layer's mount, across processes. The file is
 * `layerstack/mounts/<mount-id>.json` =
 * `{"bootId":"…","count":n,"readOnly":false,"held":[…],"generation":n}`, read and written under the RW
 * layer's lock. A use that ends with an operation or its process (`cp`, `export`, a mount that is being made)
 * is counted, and also has a token in `held`, so that it is given back only once, even if several processes
 * try. A token without a marker is ignored. A count of an earlier boot is ignored, since its mount ended with
 * that boot. For the same reason, the file is not synced.
 */
import type { Layout } from '../system/layout.ts';
import type { BatchStep } from '../system/native.ts';
import { bootId } from '../system/processes.ts';
import { readText } from '../system/store-files.ts';

export interface MountCount {
  readonly count: number;
  readonly readOnly: boolean;
  /** Tokens of the uses that end with their process. */
  readonly held: readonly string[];
  /** How often the mount was replaced by another one at the same path. */
  readonly generation: number;
}

/** Reads the count of this boot; undefined when it is missing or unreadable. */
export function readMountCount(layout: Layout, mountId: string): MountCount | undefined {
  const text = readText(layout.at(layout.mountCount(mountId)));
  if (text === undefined) return undefined;
  try {
    const value = JSON.parse(text) as Partial<Record<'bootId' | keyof MountCount, unknown>> | null;
    if (value?.bootId !== bootId() || !Number.isSafeInteger(value.count)) return undefined;
    const held = Array.isArray(value.held) ? value.held.filter((token) => typeof token === 'string') : [];
    const generation = Number.isSafeInteger(value.generation) ? (value.generation as number) : 0;
    return { count: value.count as number, readOnly: value.readOnly === true, held, generation };
  } catch {
    return undefined;
  }
}

/**
 * Returns the steps that write the first count of a mount. An existing file is of another boot or an ended
 * mount.
 */
export function firstCountSteps(layout: Layout, mountId: string, count: MountCount): BatchStep[] {
  const path = layout.mountCount(mountId);
  return [...dropCountSteps(layout, mountId), { op: 'write', path, data: textOf(count), mode: 0o600 }];
}

/** Returns the steps that replace the count by one rename, so that no crash loses it. */
export function nextCountSteps(layout: Layout, mountId: string, count: MountCount): BatchStep[] {
  const path = layout.mountCount(mountId);
  return [
    dropNewStep(layout, mountId),
    { op: 'write', path: newOf(path), data: textOf(count), mode: 0o600 },
    { op: 'rename', from: newOf(path), to: path },
  ];
}

function textOf({ count, readOnly, held, generation }: MountCount): string {
  return JSON.stringify({
    ...{ bootId: bootId(), count, readOnly },
    ...(held.length > 0 && { held }),
    ...(generation > 0 && { generation }),
  });
}

/** Returns the count of a mount that has none: it is one use. */
export function uncounted(): MountCount {
  return { count: 1, readOnly: false, held: [], generation: 0 };
}

/** Returns the steps that remove the count. */
export function dropCountSteps(layout: Layout, mountId: string): BatchStep[] {
  return [{ op: 'unlink', path: layout.mountCount(mountId), missing: true }, dropNewStep(layout, mountId)];
}

/** Returns the step that removes the next count of a writer that died while it wrote it. */
export function dropNewStep(layout: Layout, mountId: string): BatchStep {
  return { op: 'unlink', path: newOf(layout.mountCount(mountId)), missing: true };
}

function newOf(path: string): string {
  return `${path}.new`;
}
