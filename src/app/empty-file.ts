/** Checks the file that a disk image is written to. */
import { fstat } from 'node:fs';
import { promisify } from 'node:util';
import { LayerstackError } from '../core/errors.ts';

const fstatFd = promisify(fstat);

/** @throws {@link LayerstackError} ERR_INVALID_ARGUMENT unless `fd` is an empty regular file. */
export async function requireEmptyFile(fd: number): Promise<void> {
  const facts = Number.isInteger(fd) && fd >= 0 ? await fstatFd(fd) : undefined;
  if (facts?.isFile() !== true || facts.size > 0)
    throw new LayerstackError(
      'ERR_INVALID_ARGUMENT',
      'a disk image can only be written to an empty regular file',
    );
}
