/**
 * Checks whether other users can change a store root. A user who can write to the root, or rename one of the
 * directories above it, can replace the store's files and directories, and thereby make root read and write
 * files for them. The same holds for a user who can change a link in the path to the root. sshd checks home
 * directories in the same way.
 */
import { lstat, readlink, realpath, stat } from 'node:fs/promises';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { isSystemError, LayerstackError } from '../core/errors.ts';
import { native } from './native.ts';

const STICKY = 0o1000;
const GROUP_WRITE = 0o020;
const OTHERS_WRITE = 0o002;
/** The kernel follows at most this many links. */
const MAX_LINKS = 40;

/** A directory that other users can write to. */
export interface UnsafeDirectory {
  readonly path: string;
  /** The reason, e.g. `it belongs to uid 1000`. */
  readonly why: string;
  /** A command that removes their access. */
  readonly hint: string;
}

/** The canonical place of a root, which may not exist yet. */
export interface RootPlace {
  /** The root itself, or the nearest directory above it. */
  readonly path: string;
  readonly exists: boolean;
  /** The links along the path, each with the canonical path of its directory. */
  readonly links: readonly string[];
}

/**
 * Finds the root, or the place where it would be made. A root that this user cannot reach counts as missing.
 */
export async function placeOf(root: string): Promise<RootPlace> {
  const absolute = resolve(root);
  for (let path = absolute; ; path = dirname(path)) {
    try {
      const real = await realpath(path);
      return { path: real, exists: path === absolute, links: await linksTo(absolute) };
    } catch (error) {
      if (!isSystemError(error, 'ENOENT', 'ENOTDIR', 'EACCES') || path === '/') throw error;
    }
  }
}

/** Returns the links that the kernel follows along the existing part of a path. */
async function linksTo(path: string): Promise<string[]> {
  const links: string[] = [];
  const names = path.split('/');
  let at = '/';
  for (let name = names.shift(); name !== undefined && links.length < MAX_LINKS; name = names.shift()) {
    const next = join(at, name);
    const target = await targetOf(next);
    if (target === undefined) {
      at = next;
      continue;
    }
    links.push(next);
    names.unshift(...target.split('/'));
    if (isAbsolute(target)) at = '/';
  }
  return links;
}

/** Returns the target of a link; undefined where it is not a link, or cannot be reached. */
async function targetOf(path: string): Promise<string | undefined> {
  try {
    return await readlink(path);
  } catch (error) {
    if (isSystemError(error, 'EINVAL', 'ENOENT', 'ENOTDIR', 'EACCES')) return undefined;
    throw error;
  }
}

/**
 * Returns the nearest unsafe directory or link, or undefined. A directory is unsafe if users other than this
 * one and root can write to it. It checks the root, the directories above it, and those above each link to
 * it. A link is unsafe if another user owns it. In a parent with the sticky bit, such as /tmp, users cannot
 * rename or replace the entries of others, so it is safe.
 */
export async function unsafeDirectory({
  path,
  exists,
  links,
}: RootPlace): Promise<UnsafeDirectory | undefined> {
  const found = await unsafeAbove(path, exists);
  if (found !== undefined) return found;
  for (const link of links) {
    const { uid } = await lstat(link);
    if (isStranger(uid))
      return { path: link, why: `it belongs to uid ${uid}`, hint: `chown -h root ${link}` };
    const above = await unsafeAbove(dirname(link), false);
    if (above !== undefined) return above;
  }
  return undefined;
}

async function unsafeAbove(path: string, isRoot: boolean): Promise<UnsafeDirectory | undefined> {
  for (let at = path; ; at = dirname(at)) {
    const found = await unsafe(at, isRoot && at === path);
    if (found !== undefined || at === '/') return found;
  }
}

function isStranger(uid: number): boolean {
  return uid !== 0 && uid !== process.geteuid?.();
}

async function unsafe(path: string, isRoot: boolean): Promise<UnsafeDirectory | undefined> {
  const { uid, gid, mode } = await stat(path);
  const found = (why: string, hint: string): UnsafeDirectory => ({ path, why, hint });
  if (isStranger(uid)) return found(`it belongs to uid ${uid}`, `chown root ${path}`);
  if (!isRoot && (mode & STICKY) !== 0) return undefined;
  const shown = `mode ${(mode & 0o7777).toString(8).padStart(4, '0')}`;
  if ((mode & OTHERS_WRITE) !== 0) return found(`everybody can write to it (${shown})`, `chmod o-w ${path}`);
  if ((mode & GROUP_WRITE) === 0) return undefined;
  if (gid !== 0) return found(`the group ${gid} can write to it (${shown})`, `chmod g-w ${path}`);
  // With an access control list, the group bits are the most that any user or group named in it may do.
  return (await hasAcl(path))
    ? found('an access control list lets others write to it', `setfacl -b ${path}; chmod g-w ${path}`)
    : undefined;
}

async function hasAcl(path: string): Promise<boolean> {
  return (await native.getXattr(path, 'system.posix_acl_access').catch(() => null)) !== null;
}

/**
 * Refuses a root that other users can write to. It does so only where this process runs as root.
 * @throws {@link LayerstackError} ERR_STORE_UNSAFE naming the directory.
 */
export async function requireSafe(root: string): Promise<void> {
  if (process.geteuid?.() !== 0) return;
  const place = await placeOf(root);
  const found = await unsafeDirectory(place);
  if (found === undefined) return;
  const { path, why, hint } = found;
  throw new LayerstackError(
    'ERR_STORE_UNSAFE',
    `the store root ${root} is not safe: ${path === place.path && place.exists ? '' : `its path leads through ${path}, and `}${why}, so other users could make ` +
      `root read and write any file: ${hint}, or open it all the same (--allow-unsafe-root, allowUnsafeRoot)`,
    { path },
  );
}
