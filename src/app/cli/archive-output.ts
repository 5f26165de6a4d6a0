/**
 * Where archives go that a command writes: a file that appears only when it is complete, or stdout. Written by
 * write(2) on native threads: Node's own stdout would block the event loop while the reader of a pipe is busy.
 */
import { randomBytes } from 'node:crypto';
import { constants, type Stats } from 'node:fs';
import { open, realpath, rename, stat, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { isSystemError, LayerstackError } from '../../core/errors.ts';
import { native } from '../../system/native.ts';
import { spaceError } from '../../system/space.ts';
import { writeBytes } from '../../system/write-bytes.ts';
import { UsageError, type Context } from './command.ts';

const STDOUT = 1;

/** @throws UsageError where an archive would go to a terminal. */
export function requireTarget(context: Context, file: string | undefined): void {
  if (file === undefined && context.stdoutIsTerminal)
    throw new UsageError('stdout is a terminal: name a file with -o FILE, or redirect');
}

/** Writes an archive to an open file. */
type WriteTo = (fd: number) => Promise<void>;

/** {@link writeOutput} for an archive that is a stream. */
export async function writeArchive(
  archive: AsyncIterable<Uint8Array>,
  file: string | undefined,
): Promise<void> {
  await writeOutput(async (fd) => {
    for await (const chunk of archive) await writeBytes(fd, chunk);
  }, file);
}

/**
 * Has `write` write an archive to `file`, or to stdout where there is none. After an error there is no new file, and one that was
 * there is as it was. A device such as /dev/null and a pipe are written to and stay what they are; links are followed.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT where there is no such directory, or something that holds no archive;
 *   ERR_ABORTED when the reader of a pipe goes away; ERR_NO_SPACE; what `write` throws; system errors.
 */
export async function writeOutput(write: WriteTo, file: string | undefined): Promise<void> {
  if (file === undefined) return writeOpen(STDOUT, write, 'stdout');
  const there = await stat(file).catch((error: unknown) => {
    if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw error;
  });
  if (there === undefined) return writeNewFile(write, file, file);
  if (there.isFile()) return writeNewFile(write, await realpath(file), file);
  await writeInto(write, file, there);
}

async function writeNewFile(write: WriteTo, path: string, file: string): Promise<void> {
  const temporary = join(dirname(path), `.tmp-${basename(path)}${randomBytes(4).toString('hex')}`);
  const handle = await open(temporary, 'wx', 0o600).catch((error: unknown) => {
    // The error names a file that nobody has asked for.
    throw isSystemError(error, 'ENOENT', 'ENOTDIR') ? noFolder(file, error) : error;
  });
  try {
    await writeOpen(handle.fd, write, file);
    await handle.sync();
    await handle.close();
    await rename(temporary, path);
  } catch (error) {
    await handle.close().catch(() => undefined);
    await unlink(temporary).catch(() => undefined);
    throw spaceError(error, file, `for ${file}`); // the fsync may be the one that finds no room
  }
}

/** To put a new file in the place of a device or a pipe would take it from everybody else. */
async function writeInto(write: WriteTo, file: string, there: Stats): Promise<void> {
  if (!there.isCharacterDevice() && !there.isFIFO())
    throw notAFile(file, there.isDirectory() ? 'is a directory' : 'is no file: name a new one');
  // A pipe that nobody reads would hold the open, and no signal could end it.
  const flags = constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY;
  const handle = await open(file, flags).catch((error: unknown) => {
    throw isSystemError(error, 'ENXIO') ? notAFile(file, 'has no reader: start it first', error) : error;
  });
  try {
    await writeOpen(handle.fd, write, file);
  } finally {
    await handle.close();
  }
}

async function writeOpen(fd: number, write: WriteTo, name: string): Promise<void> {
  native.widenPipe(fd);
  try {
    await write(fd);
  } catch (error) {
    if (isSystemError(error, 'EPIPE')) throw readerGone(name, error);
    throw spaceError(error, name, fd === STDOUT ? 'where stdout goes' : `for ${name}`);
  }
}

function noFolder(file: string, cause: unknown): LayerstackError {
  return new LayerstackError('ERR_INVALID_ARGUMENT', `${file}: there is no directory ${dirname(file)}`, {
    path: file,
    cause,
  });
}

function notAFile(file: string, what: string, cause?: unknown): LayerstackError {
  return new LayerstackError('ERR_INVALID_ARGUMENT', `${file} ${what}`, { path: file, cause });
}

function readerGone(name: string, cause: unknown): LayerstackError {
  return new LayerstackError(
    'ERR_ABORTED',
    `the reader of ${name} went away before the archive was complete`,
    {
      cause,
    },
  );
}
