/**
 * Writes a command's archive to a file that appears only when it is complete, or to stdout. The bytes go by
 * write(2) on native threads: Node's own stdout would block the event loop while the reader of a pipe is
 * busy.
 */
import { randomBytes } from 'node:crypto';
import { constants, type Stats } from 'node:fs';
import { open, readlink, realpath, rename, stat, unlink } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { isatty } from 'node:tty';
import { isSystemError, LayerstackError } from '../../core/errors.ts';
import { native } from '../../system/native.ts';
import { spaceError } from '../../system/space.ts';
import { writeBytes } from '../../system/write-bytes.ts';
import type { Layerstack } from '../layerstack.ts';
import { UsageError, type Context } from './command.ts';

const STDOUT = 1;

/** @throws UsageError where an archive would go to a terminal. */
export function requireTarget(context: Context, file: string | undefined): void {
  if (file === undefined && context.stdoutIsTerminal)
    throw new UsageError('stdout is a terminal: name a file with -o FILE, or redirect');
}

/**
 * The store that the archive comes from. If this process dies, the next writer of the store removes the
 * unfinished file.
 */
type Store = Pick<Layerstack, 'announceTemporary'>;

/** Writes an archive to an open file. */
type WriteTo = (fd: number) => Promise<void>;

/** {@link writeOutput} for an archive that is a stream. */
export async function writeArchive(
  store: Store,
  archive: AsyncIterable<Uint8Array>,
  file: string | undefined,
  signal: AbortSignal,
): Promise<void> {
  const write: WriteTo = async (fd) => {
    for await (const chunk of archive) await writeBytes(fd, chunk, signal);
  };
  await writeOutput(store, write, file);
}

/**
 * Calls `write` to write an archive to `file`, or to stdout without a `file`. After an error no new file
 * exists, and a file that existed is unchanged. A device such as /dev/null, a pipe, and an open file of this
 * process (/dev/stdout, /dev/fd/N) are written to and stay in place. A symlink to anything else is replaced,
 * not followed: another user may have made it, so that root writes to another file.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT where the directory does not exist, or where the path
 *   is something that cannot hold an archive; ERR_ABORTED when the reader of a pipe closes it; ERR_NO_SPACE;
 *   what `write` throws; system errors.
 */
export async function writeOutput(store: Store, write: WriteTo, file: string | undefined): Promise<void> {
  if (file === undefined) return writeOpen(STDOUT, write, 'stdout');
  const fd = await ownFd(file);
  if (fd !== undefined) return writeOpen(fd, write, file);
  const there = await stat(file).catch((error: unknown) => {
    if (isSystemError(error, 'ENOENT', 'ENOTDIR', 'ELOOP')) return undefined;
    throw error;
  });
  if (there === undefined || there.isFile()) return writeNewFile(store, write, file);
  await writeInto(write, file, there);
}

/** Returns the fd that /dev/stdout, /dev/fd/N or /proc/self/fd/N names; undefined for any other path. */
async function ownFd(file: string): Promise<number | undefined> {
  const path = await readlink(file).catch(() => undefined);
  if (path === undefined) return undefined;
  for (const candidate of [file, path]) {
    const folder = await realpath(dirname(candidate)).catch(() => undefined);
    if (folder === `/proc/${process.pid}/fd`) return Number(basename(candidate));
  }
  return undefined;
}

async function writeNewFile(store: Store, write: WriteTo, file: string): Promise<void> {
  const temporary = join(dirname(resolve(file)), `.tmp-${basename(file)}${randomBytes(4).toString('hex')}`);
  await using announced = await store.announceTemporary(temporary);
  void announced;
  const handle = await open(temporary, 'wx', 0o600).catch((error: unknown) => {
    // The system error names the temporary file, which the user did not ask for.
    throw isSystemError(error, 'ENOENT', 'ENOTDIR') ? noFolder(file, error) : error;
  });
  try {
    await writeOpen(handle.fd, write, file);
    await handle.sync().catch((error: unknown) => {
      throw spaceError(error, file, `for ${file}`);
    });
    await handle.close();
    await rename(temporary, file);
  } catch (error) {
    await handle.close().catch(() => undefined);
    await unlink(temporary).catch(() => undefined);
    throw error;
  }
}

/** Writes to a device or a pipe in place. Other programs use it, so a new file must not replace it. */
async function writeInto(write: WriteTo, file: string, there: Stats): Promise<void> {
  if (!there.isCharacterDevice() && !there.isFIFO())
    throw notAFile(file, there.isDirectory() ? 'is a directory' : 'is not a regular file: name a new one');
  // O_NONBLOCK: the open of a pipe without a reader would block, and no signal could end it. O_CREAT: the
  // kernel then refuses a pipe that another user has put into a directory like /tmp (fs.protected_fifos).
  const { O_WRONLY, O_CREAT, O_NONBLOCK, O_NOCTTY } = constants;
  const handle = await open(file, O_WRONLY | O_CREAT | O_NONBLOCK | O_NOCTTY, 0o600).catch(
    (error: unknown) => {
      const unread = there.isFIFO() && isSystemError(error, 'ENXIO');
      throw unread ? notAFile(file, 'is a FIFO without a reader: start the reader first', error) : error;
    },
  );
  try {
    const { dev, ino } = await handle.stat();
    if (dev !== there.dev || ino !== there.ino) throw notAFile(file, 'was replaced while it was opened');
    await writeOpen(handle.fd, write, file);
  } finally {
    await handle.close();
  }
}

async function writeOpen(fd: number, write: WriteTo, name: string): Promise<void> {
  if (isatty(fd)) throw notAFile(name, 'is a terminal: name a file');
  native.widenPipe(fd);
  try {
    await write(fd);
  } catch (error) {
    // Any other error is about the store.
    if (!isSystemError(error) || error.syscall !== 'write') throw error;
    if (error.code === 'EPIPE') throw readerGone(name, error);
    throw spaceError(error, name, fd === STDOUT ? 'where stdout goes' : `for ${name}`);
  }
}

function noFolder(file: string, cause: unknown): LayerstackError {
  return new LayerstackError(
    'ERR_INVALID_ARGUMENT',
    `${file}: the directory ${dirname(file)} does not exist`,
    {
      path: file,
      cause,
    },
  );
}

function notAFile(file: string, what: string, cause?: unknown): LayerstackError {
  return new LayerstackError('ERR_INVALID_ARGUMENT', `${file} ${what}`, { path: file, cause });
}

function readerGone(name: string, cause: unknown): LayerstackError {
  return new LayerstackError(
    'ERR_ABORTED',
    `the reader of ${name} closed it before the archive was complete`,
    {
      cause,
    },
  );
}
