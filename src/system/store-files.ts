/**
 * The door to the store's own files: whatever reads metadata of the store goes through here (test/unit/system/store-files.test.ts
 * looks). A path is absolute, and no part of it may be a link: a planted link is named and never followed. A fifo, a socket or a
 * device in the place of a file is named, too, and nothing waits for it. Every read is bounded. What is wrong is
 * ERR_STORE_CORRUPT with `path`.
 *
 * Reads of one-line files are synchronous on purpose: such a read blocks for some microseconds, while four trips to other threads
 * take over 100 µs, of which making a container has no more than a few to spend. Whoever reads many gives the event loop its turn
 * in between.
 */
import { closeSync, constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { isSystemError, LayerstackError } from '../core/errors.ts';
import { call, callSync, native, type StoreEntry } from './native.ts';

/** A file of one line: an id, a digest, a number, a list of short names. */
const LINE_BYTES = 64 * 1024;

/** All of a file; undefined where there is none. @throws system error EISDIR for a directory. */
export async function readStoreFile(path: string, maxBytes: number): Promise<Buffer | undefined> {
  const [bytes] = await call(native.readStoreFiles([path], maxBytes));
  return bytes ?? undefined;
}

/** The texts of small files, by one trip to another thread; undefined for those that are missing. @throws EISDIR. */
export async function readTexts(paths: readonly string[]): Promise<(string | undefined)[]> {
  return (await call(native.readStoreFiles(paths, LINE_BYTES))).map((bytes) => bytes?.toString());
}

/** {@link readStoreFile}, blocking: for listings of a thousand small files. */
export function readStoreFileSync(path: string, maxBytes: number): Buffer | undefined {
  return callSync(() => native.readStoreFileSync(path, maxBytes)) ?? undefined;
}

/** The text of a small file; undefined where there is none, or a directory in its place. */
export function readText(path: string, maxBytes = LINE_BYTES): string | undefined {
  return unlessElse(() => {
    return readStoreFileSync(path, maxBytes)?.toString();
  });
}

/** Where a symlink that the store keeps points; undefined where there is none, or something else. */
export function readLink(path: string): string | undefined {
  return unlessElse(() => callSync(() => native.readStoreLink(path)) ?? undefined);
}

/** What is at a path, be it a link; undefined where there is nothing. */
export function statEntry(path: string): StoreEntry | undefined {
  return unlessElse(() => callSync(() => native.statStoreEntry(path)) ?? undefined);
}

/** Whether there is a directory, reached without a link. */
export function hasDirectory(path: string): boolean {
  // With the dot a link is on the way, and named.
  return statEntry(`${path}/.`) !== undefined;
}

/** Whether an error says that something was planted: a link on the way, or no file in a file's place. */
export function isPlanted(error: unknown): error is LayerstackError & { readonly path: string } {
  if (!LayerstackError.is(error, 'ERR_STORE_CORRUPT') || error.path === undefined) return false;
  return ['no link', 'a file', 'a directory'].includes(String(error.expected));
}

/** The names in a directory; undefined where there is none. */
export async function listDirectory(path: string): Promise<string[] | undefined> {
  return (await call(native.listStoreDirectory(path))) ?? undefined;
}

/** Opens a file as `open` of node:fs does. @throws ENOENT, too. */
export async function openStoreFile(path: string, flags: number, mode = 0o600): Promise<FileHandle> {
  // The descriptor says which file it is; a handle of Node's comes from opening just that again.
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

function unlessElse<T>(read: () => T | undefined): T | undefined {
  try {
    return read();
  } catch (error) {
    if (isSystemError(error, 'ENOTDIR', 'EISDIR', 'EINVAL')) return undefined;
    throw error;
  }
}
