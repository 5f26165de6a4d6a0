/**
 * Docker's rules for the paths of `cp` (moby/moby: pkg/archive/copy.go). A path that ends in `/` asserts a
 * directory, and a path that ends in `/.` means the content of a directory. Cleaning a path keeps both
 * endings. With either, the kernel follows a link that the path leads to.
 */
import { posix } from 'node:path';
import { LayerstackError } from '../core/errors.ts';

/** Returns the path without `.`, `..` and double slashes, as Go's filepath.Clean does. */
function clean(path: string): string {
  const normal = posix.normalize(path);
  return normal.length > 1 && normal.endsWith('/') ? normal.slice(0, -1) : normal;
}

/** Returns what Go's filepath.Base does: `/` for the root, `.` for an empty path. */
export function baseName(path: string): string {
  if (path === '') return '.';
  return posix.basename(path) || '/';
}

/** Returns whether the path means the content of a directory: it ends in `/.`, or is `.`. */
export function meansContent(path: string): boolean {
  return baseName(path) === '.';
}

function assertsDirectory(path: string): boolean {
  return path.endsWith('/') || meansContent(path);
}

/** Returns `cleaned` with the ending `/` or `/.` of `original`. */
export function keepEnding(cleaned: string, original: string): string {
  if (meansContent(original) && !meansContent(cleaned))
    return cleaned.endsWith('/') ? `${cleaned}.` : `${cleaned}/.`;
  return original.endsWith('/') && !cleaned.endsWith('/') ? `${cleaned}/` : cleaned;
}

/** Returns a path of a container as an absolute one. It is cleaned as text, before any link is followed. */
export function containerPath(path: string): string {
  return keepEnding(clean(`/${path}`), path);
}

/** Splits a path into the directory of its last component, and that component. */
export function splitPath(path: string): { readonly directory: string; readonly base: string } {
  const kept = meansContent(path) ? `${clean(path)}/.` : clean(path);
  return { directory: posix.dirname(kept), base: baseName(kept) };
}

/** The source of a copy. */
export interface CopySource {
  /** The name of its top entry; `.` when only the content is meant. */
  readonly name: string;
  readonly isDirectory: boolean;
}

/** The destination of a copy. */
export interface CopyDestination {
  /** Absolute. A link as the last component has been resolved. */
  readonly path: string;
  readonly kind: 'missing' | 'directory' | 'other';
}

/** The directory to extract a tar into, and the name for its top entry. */
export interface CopyPlan {
  readonly directory: string;
  readonly name: string;
}

/**
 * Plans a copy of `source`: into `destination` if that is a directory, otherwise in its place.
 * @throws {@link LayerstackError} ERR_PATH_TYPE for a directory onto another kind of file, and for a file
 *   whose destination ends in `/` but does not exist.
 */
export function planCopy(source: CopySource, destination: CopyDestination): CopyPlan {
  const { path, kind } = destination;
  if (kind === 'directory') return { directory: path, name: source.name };
  if (kind === 'other' && source.isDirectory)
    throw new LayerstackError(
      'ERR_PATH_TYPE',
      `cannot copy a directory onto ${path}, which is not a directory`,
      {
        path,
      },
    );
  if (kind === 'missing' && !source.isDirectory && assertsDirectory(path))
    throw new LayerstackError(
      'ERR_PATH_TYPE',
      `the directory ${path} does not exist: make it first, or name a file`,
      { path },
    );
  const { directory, base } = splitPath(path);
  return { directory, name: base };
}
