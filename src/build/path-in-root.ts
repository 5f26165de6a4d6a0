/** Resolves paths inside a root file system, for a runtime that would follow links of the host. */
import { constants } from 'node:fs';
import { join } from 'node:path';
import { isSystemError, LayerstackError } from '../core/errors.ts';
import { call, native } from '../system/native.ts';

/**
 * Returns the path of an existing file or directory, without links.
 * @throws {@link LayerstackError} ERR_PATH_NOT_FOUND.
 */
export async function pathInRoot(root: string, path: string): Promise<string> {
  let at = '';
  for (const name of path.split('/').filter(Boolean)) {
    const next = `${at}/${name}`;
    const { mode, linkTarget } = await stat(root, next, path);
    const isLink = (mode & constants.S_IFMT) === constants.S_IFLNK;
    at = isLink && linkTarget !== undefined ? await withoutLinks(root, linkTarget, path) : next;
  }
  return join(root, at);
}

/** The kernel has followed all links at the end of a target. Links before its end are followed here. */
async function withoutLinks(root: string, target: string, path: string): Promise<string> {
  const { mode } = await stat(root, target, path);
  if ((mode & constants.S_IFMT) === constants.S_IFLNK) throw notFound(path);
  const parent = target.slice(0, target.lastIndexOf('/'));
  if (parent === '') return target;
  const above = await pathInRoot(root, parent);
  return `${above.slice(root.length)}${target.slice(parent.length)}`;
}

async function stat(root: string, path: string, wanted: string) {
  try {
    return await call(native.statInRoot(root, path));
  } catch (error) {
    if (isSystemError(error, 'ENOENT', 'ENOTDIR', 'ELOOP')) throw notFound(wanted, error);
    throw error;
  }
}

function notFound(path: string, cause?: unknown): LayerstackError {
  return new LayerstackError('ERR_PATH_NOT_FOUND', `${path} does not exist in the source of the mount`, {
    path,
    cause,
  });
}

/**
 * Returns the paths at and above `path` that a root file system does not have, the deepest first and without
 * a slash at their beginning.
 */
export async function missingPaths(root: string, path: string): Promise<string[]> {
  const missing: string[] = [];
  let at = '';
  for (const name of path.split('/').filter(Boolean)) {
    at += `/${name}`;
    if (missing.length > 0 || !(await exists(root, at))) missing.unshift(at.slice(1));
  }
  return missing;
}

async function exists(root: string, path: string): Promise<boolean> {
  try {
    await call(native.statInRoot(root, path));
    return true;
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return false;
    throw error;
  }
}
