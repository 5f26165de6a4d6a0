/**
 * How many uses an RW layer's mount has, across processes: `layerstack/mounts/<mount-id>.json` =
 * `{"bootId":"…","count":n,"readOnly":false,"held":[…]}`, read and written under the RW layer's lock. Uses
 * that end with an operation or its process (`cp`, `export`, a mount that is being made) are counted, and
 * named in `held` by a token, so that each is given back once, however many processes try. A token whose
 * marker is gone means nothing. A count of another boot is none at all: its mount went with the kernel that
 * held it. Not synced, for the same reason.
 */
import { readFileSync } from 'node:fs';
import type { Layout } from '../system/layout.ts';
import type { BatchStep } from '../system/native.ts';
import { readText } from '../system/store-files.ts';

export interface MountCount {
  readonly count: number;
  readonly readOnly: boolean;
  /** Tokens of the uses that end with their process. */
  readonly held: readonly string[];
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
    const value = JSON.parse(text) as Partial<Record<'bootId' | keyof MountCount, unknown>> | null;
    if (value?.bootId !== bootId() || !Number.isSafeInteger(value.count)) return undefined;
    const held = Array.isArray(value.held) ? value.held.filter((token) => typeof token === 'string') : [];
    return { count: value.count as number, readOnly: value.readOnly === true, held };
  } catch {
    return undefined;
  }
}

/** The first count of a mount; what is there is of another boot, or of a mount that is gone. */
export function firstCountSteps(layout: Layout, mountId: string, count: MountCount): BatchStep[] {
  const path = layout.mountCount(mountId);
  return [...dropCountSteps(layout, mountId), { op: 'write', path, data: textOf(count), mode: 0o600 }];
}

/** Replaces the count in one step, so that no crash loses it. */
export function nextCountSteps(layout: Layout, mountId: string, count: MountCount): BatchStep[] {
  const path = layout.mountCount(mountId);
  return [
    dropNewStep(layout, mountId),
    { op: 'write', path: newOf(path), data: textOf(count), mode: 0o600 },
    { op: 'rename', from: newOf(path), to: path },
  ];
}

function textOf({ count, readOnly, held }: MountCount): string {
  return JSON.stringify({ bootId: bootId(), count, readOnly, ...(held.length > 0 && { held }) });
}

/** Forgets the count. */
export function dropCountSteps(layout: Layout, mountId: string): BatchStep[] {
  return [{ op: 'unlink', path: layout.mountCount(mountId), missing: true }, dropNewStep(layout, mountId)];
}

/** Removes the next count of a writer that died while writing it. */
export function dropNewStep(layout: Layout, mountId: string): BatchStep {
  return { op: 'unlink', path: newOf(layout.mountCount(mountId)), missing: true };
}

function newOf(path: string): string {
  return `${path}.new`;
}
