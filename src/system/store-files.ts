/**
 * Reads the store's own files. All reads of metadata go through here (test/unit/system/store-files.test.ts
 * checks it). A path is absolute, and no part of it may be a link: the error names a planted link, which is
 * never followed. A fifo, socket or device in the place of a file is an error too, and a read does not wait
 * for it. Every read is bounded. These errors are ERR_STORE_CORRUPT with `path`.
 *
 * Reads of one-line files are synchronous on purpose. Such a read blocks for some microseconds, while four
 * trips to other threads take over 100 µs, which is too long for making a container. A caller that reads many
 * files yields to the event loop in between.
 */
import { closeSync, constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { isSystemError, LayerstackError } from '../core/errors.ts';
import { call, callSync, native, type StoreEntry } from './native.ts';

/** A file of one line: an id, a digest, a number, a list of short names. */
const LINE_BYTES = 64 * 1024;

/** Reads a whole file; undefined where it is missing. @throws system error EISDIR for a directory. */
export async function readStoreFile(path: string, maxBytes: number): Promise<Buffer | undefined> {
  if (isMissing(path)) return undefined;
  const [bytes] = await call(native.readStoreFiles([path], maxBytes));
  return bytes ?? undefined;
}

/** Reads small files in one trip to another thread; undefined for missing ones. @throws EISDIR. */
export async function readTexts(paths: readonly string[]): Promise<(string | undefined)[]> {
  return (await call(native.readStoreFiles(paths, LINE_BYTES))).map((bytes) => bytes?.toString());
}

/** Reads as {@link readStoreFile} does, but blocks: for listings of a thousand small files. */
export function readStoreFileSync(path: string, maxBytes: number): Buffer | undefined {
  return callSync(() => native.readStoreFileSync(path, maxBytes)) ?? undefined;
}

/** Reads the text of a small file; undefined where it is missing, or a directory is in its place. */
export function readText(path: string, maxBytes = LINE_BYTES): string | undefined {
  return unlessElse(() => {
    return readStoreFileSync(path, maxBytes)?.toString();
  });
}

/**
 * Returns the target of a symlink of the store; undefined where it is missing, or something else is in its
 * place.
 */
export function readLink(path: string): string | undefined {
  return unlessElse(() => callSync(() => native.readStoreLink(path)) ?? undefined);
}

/** Returns the stat of a path, without following a link at its end; undefined where it is missing. */
export function statEntry(path: string): StoreEntry | undefined {
  return unlessElse(() => callSync(() => native.statStoreEntry(path)) ?? undefined);
}

/** Returns whether the path is a directory and contains no link. */
export function hasDirectory(path: string): boolean {
  // With the dot, a link at the end counts as a part of the path, and the error names it.
  return statEntry(`${path}/.`) !== undefined;
}

/**
 * Returns whether an error reports a planted entry: a link in the path, or something else in a file's place.
 */
export function isPlanted(error: unknown): error is LayerstackError & { readonly path: string } {
  if (!LayerstackError.is(error, 'ERR_STORE_CORRUPT') || error.path === undefined) return false;
  return ['no link', 'a file', 'a directory'].includes(String(error.expected));
}

/** Returns the names in a directory; undefined where it is missing. */
export async function listDirectory(path: string): Promise<string[] | undefined> {
  if (isMissing(path)) return undefined;
  return (await call(native.listStoreDirectory(path))) ?? undefined;
}

/** Opens a file as `open` of node:fs does. @throws ENOENT, too. */
export async function openStoreFile(path: string, flags: number, mode = 0o600): Promise<FileHandle> {
  // Node makes a handle only from a path. The path of the descriptor leads to the same file.
  const fd = openStoreFd(path, flags, mode);
  try {
    return await open(`/proc/self/fd/${fd}`, flags & ~(constants.O_CREAT | constants.O_EXCL));
  } finally {
    closeSync(fd);
  }
}

/** {@link openStoreFile} for a caller that wants the descriptor, and closes it. */
export function openStoreFd(path: string, flags: number, mode = 0o600): number {
  return callSync(() => native.openStoreFile(path, flags, mode));
}

/** Spares the trip to another thread: a store lacks most of the files and directories that it may have. */
function isMissing(path: string): boolean {
  return callSync(() => native.statStoreEntry(path)) === null;
}

function unlessElse<T>(read: () => T | undefined): T | undefined {
  try {
    return read();
  } catch (error) {
    if (isSystemError(error, 'ENOTDIR', 'EISDIR', 'EINVAL')) return undefined;
    throw error;
  }
}
