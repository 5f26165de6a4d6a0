/**
 * Freezes the processes that use a mounted container, by their cgroups (version 2). A cgroup is
 * frozen only if all its processes use the container, because layerstack's caller may be in any other cgroup.
 * The cgroups are noted in the snapshot's directory before they are frozen. If this process dies, the next
 * writer thaws them.
 */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { isSystemError } from '../core/errors.ts';
import type { RwLayer } from '../rwlayer/rwlayer.ts';
import { usesOf } from '../rwlayer/users.ts';
import { call, native } from '../system/native.ts';
import type { Root } from '../system/root.ts';
import { readText } from '../system/store-files.ts';

/** A process in a system call on a slow disk freezes late. A process that never freezes ends the attempt. */
const PATIENCE_MS = 2000;
const STEP_MS = 2;
/** A container has few cgroups. Each has a path of at most 4096 bytes. */
const MAX_NOTE_BYTES = 1024 * 1024;

/**
 * Freezes all processes that use the container. The caller thaws them.
 * @returns whether all of them are frozen; otherwise none of them is
 */
export async function freezeUsers(root: Root, layer: RwLayer, id: string): Promise<boolean> {
  const base = await cgroupMount();
  const groups = base === undefined ? undefined : await groupsOfUsers(root, layer, base);
  if (base === undefined || groups === undefined || groups.length === 0) return false;
  const { layout } = root;
  try {
    // A cgroup that is already frozen is not noted, so it stays frozen afterwards.
    const own: string[] = [];
    for (const group of groups) if (!(await isSetFrozen(base, group))) own.push(group);
    const note = { op: 'write', path: noteOf(root, id), data: own.join('\n'), mode: 0o600 } as const;
    await call(native.batch(layout.root, [note]));
    for (const group of own) await setFrozen(base, group, true);
    for (const group of groups) await untilFrozen(base, group);
    // A process of another cgroup may have entered the container meanwhile.
    const now = await groupsOfUsers(root, layer, base);
    const areFrozen = now?.every((group) => groups.some((frozen) => isBelow(group, frozen))) === true;
    // A group without users was found by a pid that another process has taken over.
    if (areFrozen && groups.every((frozen) => now.some((group) => isBelow(group, frozen)))) return true;
  } catch (error) {
    if (!isSystemError(error) && !(error instanceof NotFrozen)) throw error;
    root.log.info('processes cannot be frozen', { id: layer.key, error: error.message });
  }
  await thaw(root, id);
  return false;
}

/** Thaws the cgroups that {@link freezeUsers} has noted for a snapshot. Does nothing without a note. */
export async function thaw(root: Root, id: string): Promise<void> {
  const { layout } = root;
  const text = readText(layout.at(noteOf(root, id)), MAX_NOTE_BYTES);
  if (text === undefined) return;
  const base = await cgroupMount();
  for (const group of text.split('\n'))
    if (base !== undefined && isGroup(group))
      await setFrozen(base, group, false).catch((error: unknown) => {
        if (!isSystemError(error, 'ENOENT', 'ENODEV')) throw error; // its processes have ended
      });
  await call(native.batch(layout.root, [{ op: 'unlink', path: noteOf(root, id), missing: true }]));
}

class NotFrozen extends Error {}

/** Returns the cgroups of all users; undefined where one of them must not be frozen, or cannot be. */
async function groupsOfUsers(root: Root, layer: RwLayer, base: string): Promise<string[] | undefined> {
  const { users } = await usesOf(root, layer);
  const pids = new Set(users.map(({ pid }) => pid));
  if (pids.has(process.pid)) return undefined;
  const groups = new Set<string>();
  for (const pid of pids) {
    const group = await groupOf(pid);
    if (group === undefined) continue; // it has ended
    if (!isGroup(group)) return undefined;
    groups.add(group);
  }
  for (const group of groups)
    if (!(await processesOf(join(base, group))).every((pid) => pids.has(pid))) return undefined;
  return [...groups];
}

/** Returns where the hierarchy of version 2 is mounted. */
async function cgroupMount(): Promise<string | undefined> {
  const table = await readFile('/proc/self/mountinfo', 'utf8');
  const line = table.split('\n').find((each) => each.includes(' - cgroup2 '));
  return line?.split(' ')[4];
}

async function groupOf(pid: number): Promise<string | undefined> {
  const text = await readFile(`/proc/${pid}/cgroup`, 'utf8').catch((error: unknown) => {
    if (isSystemError(error, 'ENOENT', 'ESRCH')) return undefined;
    throw error;
  });
  return text === undefined ? undefined : (/^0::(.*)$/m.exec(text)?.[1] ?? '');
}

/** The root cgroup has every other process in it, and cannot be frozen. */
function isGroup(path: string): boolean {
  return path.startsWith('/') && path !== '/' && posix.normalize(path) === path;
}

function isBelow(group: string, above: string): boolean {
  return group === above || group.startsWith(`${above}/`);
}

async function processesOf(directory: string): Promise<number[]> {
  const own = (await readFile(join(directory, 'cgroup.procs'), 'utf8'))
    .split('\n')
    .filter(Boolean)
    .map(Number);
  const below = (await readdir(directory, { withFileTypes: true })).filter((entry) => entry.isDirectory());
  const others = await Promise.all(below.map(({ name }) => processesOf(join(directory, name))));
  return [...own, ...others.flat()];
}

async function isSetFrozen(base: string, group: string): Promise<boolean> {
  return (await readFile(join(base, group, 'cgroup.freeze'), 'utf8')).trim() === '1';
}

async function setFrozen(base: string, group: string, frozen: boolean): Promise<void> {
  await writeFile(join(base, group, 'cgroup.freeze'), frozen ? '1' : '0', { flag: 'r+' });
}

async function untilFrozen(base: string, group: string): Promise<void> {
  for (const end = Date.now() + PATIENCE_MS; Date.now() < end; await delay(STEP_MS))
    if (/^frozen 1$/m.test(await readFile(join(base, group, 'cgroup.events'), 'utf8'))) return;
  throw new NotFrozen(`cgroup ${group} does not freeze`);
}

function noteOf({ layout }: Root, id: string): string {
  return `${layout.overlay(id)}/frozen`;
}
