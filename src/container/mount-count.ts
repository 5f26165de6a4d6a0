/**
 * How many users a container's mount has, across processes: `layerstack/mounts/<mount-id>.json` =
 * `{"bootId":"…","count":n,"readOnly":false}`, read and written under the container's lock. A count of another boot is
 * none at all: its mount went with the kernel that held it. Not synced, for the same reason.
 */
import { readFileSync } from 'node:fs';
import type { Layout } from '../system/layout.ts';
import type { BatchStep } from '../system/native.ts';
import { readText } from '../system/store-files.ts';

export interface MountCount {
  readonly count: number;
  readonly readOnly: boolean;
}

let currentBoot: string | undefined;

/** The kernel's name for this boot. */
function bootId(): string {
  return (currentBoot ??= readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim());
}

/** The count of this boot; undefined where there is none, or none that can be read. */
export function readMountCount(layout: Layout, mountId: string): MountCount | undefined {
  const text = readText(layout.at(layout.mountCount(mountId)));
  if (text === undefined) return undefined;
  try {
    const value = JSON.parse(text) as { bootId?: unknown; count?: unknown; readOnly?: unknown } | null;
    if (value?.bootId !== bootId() || !Number.isSafeInteger(value.count)) return undefined;
    return { count: value.count as number, readOnly: value.readOnly === true };
  } catch {
    return undefined;
  }
}

/** The first count of a mount; what is there is of another boot, or of a mount that is gone. */
export function firstCountSteps(layout: Layout, mountId: string, count: MountCount): BatchStep[] {
  return [dropCountStep(layout, mountId), writeStep(layout.mountCount(mountId), count)];
}

/** Replaces the count in one step, so that no crash loses it. */
export function nextCountSteps(layout: Layout, mountId: string, count: MountCount): BatchStep[] {
  const path = layout.mountCount(mountId);
  const temporary = `${path}.new`;
  return [
    { op: 'unlink', path: temporary, missing: true },
    writeStep(temporary, count),
    { op: 'rename', from: temporary, to: path },
  ];
}

function writeStep(path: string, { count, readOnly }: MountCount): BatchStep {
  return { op: 'write', path, data: JSON.stringify({ bootId: bootId(), count, readOnly }), mode: 0o600 };
}

/** Forgets the count. */
export function dropCountStep(layout: Layout, mountId: string): BatchStep {
  return { op: 'unlink', path: layout.mountCount(mountId), missing: true };
}
