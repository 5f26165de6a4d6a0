/**
 * Docker's rules for the paths of `cp` (moby/moby: pkg/archive/copy.go). A path that ends in `/` asserts a directory,
 * one that ends in `/.` means the content of a directory; both are kept when a path is cleaned, and both make the
 * kernel follow a link in front of them.
 */
import { posix } from 'node:path';
import { LayerstackError } from '../core/errors.ts';

/** The path without `.`, `..` and double slashes, as Go's filepath.Clean. */
function clean(path: string): string {
  const normal = posix.normalize(path);
  return normal.length > 1 && normal.endsWith('/') ? normal.slice(0, -1) : normal;
}

/** As Go's filepath.Base: `/` for the root, `.` for nothing. */
export function baseName(path: string): string {
  if (path === '') return '.';
  return posix.basename(path) || '/';
}

/** Whether the path means the content of a directory: it ends in `/.`, or is `.`. */
export function meansContent(path: string): boolean {
  return baseName(path) === '.';
}

function assertsDirectory(path: string): boolean {
  return path.endsWith('/') || meansContent(path);
}

/** `cleaned` with the `/` or `/.` that `original` ends in. */
export function keepEnding(cleaned: string, original: string): string {
  if (meansContent(original) && !meansContent(cleaned))
    return cleaned.endsWith('/') ? `${cleaned}.` : `${cleaned}/.`;
  return original.endsWith('/') && !cleaned.endsWith('/') ? `${cleaned}/` : cleaned;
}

/** A path of a container as an absolute one, cleaned by text before any link is followed. */
export function containerPath(path: string): string {
  return keepEnding(clean(`/${path}`), path);
}

/** The directory that holds the path's last component, and that component. */
export function splitPath(path: string): { readonly directory: string; readonly base: string } {
  const kept = meansContent(path) ? `${clean(path)}/.` : clean(path);
  return { directory: posix.dirname(kept), base: baseName(kept) };
}

/** What is copied. */
export interface CopySource {
  /** What its top entry is called; `.` where only the content is meant. */
  readonly name: string;
  readonly isDirectory: boolean;
}

/** Where it goes. */
export interface CopyDestination {
  /** Absolute; links resolved where they were the last component. */
  readonly path: string;
  readonly kind: 'missing' | 'directory' | 'other';
}

/** Where a tar is to be extracted, and what its top entry is to be called. */
export interface CopyPlan {
  readonly directory: string;
  readonly name: string;
}

/**
 * How to get `source` to `destination`: into it where it is a directory, else in its place.
 * @throws {@link LayerstackError} ERR_PATH_TYPE for a directory onto something else, or for a file where the
 *   destination's `/` asks for a directory that is not there.
 */
export function planCopy(source: CopySource, destination: CopyDestination): CopyPlan {
  const { path, kind } = destination;
  if (kind === 'directory') return { directory: path, name: source.name };
  if (kind === 'other' && source.isDirectory)
    throw new LayerstackError('ERR_PATH_TYPE', `cannot copy a directory onto ${path}, which is none`, {
      path,
    });
  if (kind === 'missing' && !source.isDirectory && assertsDirectory(path))
    throw new LayerstackError(
      'ERR_PATH_TYPE',
      `the directory ${path} does not exist: make it first, or name a file`,
      { path },
    );
  const { directory, base } = splitPath(path);
  return { directory, name: base };
}
